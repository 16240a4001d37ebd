"""Estimators of all kinds as functions of their weights, and the ways of skorch nets."""
