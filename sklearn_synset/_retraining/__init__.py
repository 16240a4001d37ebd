"""Training a network again, on a synset and without some of its groups."""
