"""Reads a source as a config does."""

from jaxcnn.data.sources.table import SOURCES
from jaxcnn.data.split import Source


def load(source: str, resize: int = 0, **settings) -> Source:
    return SOURCES.create(source, resize, **settings)
