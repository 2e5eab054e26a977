"""JAX setup before first use: CPU memory and convolutions, and the compilation cache.

The command line calls `prepare`. For the same speed on a CPU from Python, call it first: before
JAX initialises its devices and before anything allocates much memory.
"""

import os
import tempfile
from pathlib import Path

import jax

from jaxcnn.cpu.runtime import keep_freed_memory, share_convolutions


def prepare() -> None:
    """Retains freed memory, spreads convolutions over all cores, and caches compiled programs.

    Programs are cached in `cache_directory()`. If JAX_COMPILATION_CACHE_DIR is set, JAX uses that
    directory instead, with its default settings.
    """
    keep_freed_memory()
    share_convolutions()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache_directory() -> Path:
    """The user's cache directory, for anything that takes time to recompute."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container's user may have no home directory
        home = Path(tempfile.gettempdir(), f"cache-{os.getuid()}")
    return home / "jaxcnn"
