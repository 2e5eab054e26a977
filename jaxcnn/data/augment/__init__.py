"""Augmentations, written once in arrays' operations, and their table by name."""
