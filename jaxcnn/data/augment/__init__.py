"""Augmentations, written once for all array libraries, and their registry."""
