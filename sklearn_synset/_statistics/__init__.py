"""Statistics of arrays: rank correlation, the slope of a line, the jackknife."""
