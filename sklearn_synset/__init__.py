"""Explain a trained torch model by its training data, as a scikit-learn estimator."""

from sklearn_synset._synset_attributor import SynsetAttributor

__version__ = "0.1.0"

__all__ = ["SynsetAttributor", "__version__"]
