"""Which examples a batch holds, how its images are prepared, and how it comes to the devices."""
