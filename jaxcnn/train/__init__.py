"""A run: its state, its step, its loop, and what it leaves behind."""
