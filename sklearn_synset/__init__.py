"""Explain a trained torch model by its training data, as a scikit-learn estimator."""

__version__ = "0.1.0"

__all__ = ["__version__"]
