"""Networks really trained without some groups, and how well a synset foretells them."""
