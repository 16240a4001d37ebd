"""Rows judged by networks that have not seen them, and a model of wrong labels."""
