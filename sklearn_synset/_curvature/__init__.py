"""Derivatives of loss and outputs by the weights."""
