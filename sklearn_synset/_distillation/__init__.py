"""From the training rows to a synset."""
