"""Configs: defaults, config files, overrides, and the differences between two configs."""

from jaxcnn.config.comparing import differences
from jaxcnn.config.defaults import CHOICE_KEYS, LIMITS, LISTS, STATISTICS, data_seed, default_config
from jaxcnn.config.files import load_config_file, run_config_file, shipped_configs, summary_of
from jaxcnn.config.resolving import import_modules, resolve, resolve_settings

__all__ = [
    "CHOICE_KEYS",
    "LIMITS",
    "LISTS",
    "STATISTICS",
    "data_seed",
    "default_config",
    "differences",
    "import_modules",
    "load_config_file",
    "resolve",
    "resolve_settings",
    "run_config_file",
    "shipped_configs",
    "summary_of",
]
