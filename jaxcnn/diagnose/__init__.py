"""Inspection of data, models and what they learn."""
