"""Matplotlib figures of arrays and text, independent of runs and data sets."""
