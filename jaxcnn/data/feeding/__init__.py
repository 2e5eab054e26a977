"""Selecting examples for batches, preparing their images, and moving them to the devices."""
