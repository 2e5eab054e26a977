"""Data sets: sources, augmentation, and feeding."""
