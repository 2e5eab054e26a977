"""The config: its defaults, how a file and overrides become a full one, how two compare."""

from jaxcnn.config.comparing import differences
from jaxcnn.config.defaults import CHOICE_KEYS, LISTS, default_config
from jaxcnn.config.resolving import load_config_file, resolve, resolve_settings

__all__ = [
    "CHOICE_KEYS",
    "LISTS",
    "default_config",
    "differences",
    "load_config_file",
    "resolve",
    "resolve_settings",
]
