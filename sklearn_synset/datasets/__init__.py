"""Data to try attribution methods on: with a known answer, with wrong labels, and of a real size.

Nothing is downloaded.
"""

from sklearn_synset.datasets._fashion_mnist import load_fashion_mnist
from sklearn_synset.datasets._label_noise import flip_labels
from sklearn_synset.datasets._planted_influence import make_planted_influence

__all__ = ["flip_labels", "load_fashion_mnist", "make_planted_influence"]
