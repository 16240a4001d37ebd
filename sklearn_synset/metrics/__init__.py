"""Measures of how far attributions can be trusted, and the retrained truth they are held against.

Arrays have queries in rows and groups of training rows in columns; positive attributions help, low
scores of rows are suspicious. Truth comes first and scores second, as in :mod:`sklearn.metrics`.
"""

from sklearn_synset.metrics._brittleness import brittleness
from sklearn_synset.metrics._calibration import calibration_slope
from sklearn_synset.metrics._leave_one_out_correlation import (
    leave_one_out_ceiling,
    leave_one_out_correlation,
)
from sklearn_synset.metrics._linear_datamodeling_score import linear_datamodeling_score
from sklearn_synset.metrics._mislabel_detection import mislabel_recall, mislabel_roc_auc
from sklearn_synset.metrics._removal_curve import removal_curve
from sklearn_synset.metrics._retraining import retraining

__all__ = [
    "brittleness",
    "calibration_slope",
    "leave_one_out_ceiling",
    "leave_one_out_correlation",
    "linear_datamodeling_score",
    "mislabel_recall",
    "mislabel_roc_auc",
    "removal_curve",
    "retraining",
]
