"""The layers that all models are made of."""
