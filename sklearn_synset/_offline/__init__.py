"""Fit-time mathematics: from training rows and a trained network to a synset."""
