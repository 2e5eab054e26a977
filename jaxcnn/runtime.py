"""How JAX is set up before its first use: a CPU's memory and convolutions, the cache of programs.

The command line calls this. Who trains from Python, and wants the same speed on a CPU, calls
`prepare` first: before JAX looks for its devices, and before anything allocates much.
"""

import os
from pathlib import Path

import jax

from jaxcnn.cpu.runtime import keep_freed_memory, share_convolutions


def prepare() -> None:
    """Keeps freed memory, and compiled programs in the user's cache directory; shares convolutions.

    Where JAX_COMPILATION_CACHE_DIR is set, that is the cache, on JAX's own terms.
    """
    keep_freed_memory()
    share_convolutions()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache_directory() -> Path:
    """Where what costs time to make again is kept for the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "jaxcnn")
