"""Data sets: where they come from, how they are augmented, how they are fed."""
