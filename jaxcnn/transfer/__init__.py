"""Imports weights from other programs, and exports them."""
