"""The registry of data sources."""

from jaxcnn.data.sources.digits import digits, rotated_digits
from jaxcnn.data.sources.folder import folder
from jaxcnn.data.sources.idx import idx
from jaxcnn.data.sources.npz import npz
from jaxcnn.data.sources.synthetic import synthetic
from jaxcnn.data.sources.tfds import tfds
from jaxcnn.registry import Registry

# `resize` is a setting of all data; sources of images of any size need it while reading.
SOURCES = Registry("data source", not_settings=("resize",))
register_source = SOURCES.register
for _source in (digits, rotated_digits, synthetic, tfds, idx, npz, folder):
    register_source(_source.__name__, _source)
