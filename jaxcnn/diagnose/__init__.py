"""Looking at data and at what a network has learned."""
