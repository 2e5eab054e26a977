"""The image sources, their decoders, their cache and their registry."""
