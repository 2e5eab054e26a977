"""The checks of `jaxcnn check`, by what they look at."""
