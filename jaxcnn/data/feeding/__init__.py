"""Which examples a batch holds, and how batches come to the devices."""
