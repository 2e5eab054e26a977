"""What is drawn with matplotlib: of numbers and words, knowing nothing of runs and data sets."""
