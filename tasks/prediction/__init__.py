"""Predictions of any saved vision model on picture files."""
