"""Statistics of arrays: rank correlation, agreement with retraining, slopes, the jackknife."""
