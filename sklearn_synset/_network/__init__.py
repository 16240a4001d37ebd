"""Networks as functions of their weights, and how they are trained."""
