"""Networks trained without some groups on the real rows, to measure how faithful a synset is."""
