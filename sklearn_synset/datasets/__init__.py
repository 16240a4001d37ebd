"""Data to try attribution methods on: with a known answer, with wrong labels, and of a real size.

Also the synset of a fitted attributor as data: a table or a file, to train other networks on.
Nothing is downloaded.
"""

from sklearn_synset.datasets._fashion_mnist import load_fashion_mnist
from sklearn_synset.datasets._label_noise import flip_labels
from sklearn_synset.datasets._planted_influence import make_planted_influence
from sklearn_synset.datasets._synset_artefact import load_synset, save_synset, synset_frame

__all__ = [
    "flip_labels",
    "load_fashion_mnist",
    "load_synset",
    "make_planted_influence",
    "save_synset",
    "synset_frame",
]
