"""What is drawn with matplotlib. Drawings are told numbers, and know nothing of runs."""
