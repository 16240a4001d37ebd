"""Layers in operations that torch can vectorise over weights."""
