"""How JAX is set up before its first use: a CPU's memory and convolutions, the cache of programs.

The command line calls this. Who trains from Python, and wants the same speed on a CPU, calls
`prepare` first: before JAX looks for its devices, and before anything allocates much.
"""

import ctypes
import os
import platform
from pathlib import Path

import jax
import jaxlib.version

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of malloc.h


def prepare() -> None:
    """Keeps freed memory, and compiled programs in the user's cache directory; shares convolutions.

    Where JAX_COMPILATION_CACHE_DIR is set, that is the cache, on JAX's own terms.
    """
    keep_freed_memory()
    share_convolutions()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def share_convolutions() -> None:
    """Has XLA divide each convolution among the CPU's cores; finds JAX's devices.

    XLA 0.10 leaves most convolutions on a CPU to YNNPACK, which runs each on one core; its products and
    sums, which all cores share, it keeps. Where XLA_FLAGS names the option, that stands.
    """
    option, given = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS")
    # From 0.11 on YNNPACK's convolutions use every core, and are the faster ones. An option that XLA
    # does not know ends the process, so it is given to JAX alone, which reads the flags once, when it
    # finds its devices: TensorFlow has an XLA of its own.
    if jaxlib.version.__version_info__[:2] != (0, 10) or option in (given or ""):
        return
    os.environ["XLA_FLAGS"] = f"{given or ''} {option}=-individual_convolution".strip()
    try:
        jax.devices()
    finally:
        os.environ.pop("XLA_FLAGS")
        if given is not None:
            os.environ["XLA_FLAGS"] = given


def cache_directory() -> Path:
    """The user's, of things that cost time to make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "jaxcnn")


def keep_freed_memory() -> None:
    """Has the C library keep freed memory for the next allocation, where it is glibc.

    XLA allocates a step's buffers anew at each step. By default glibc returns blocks as large as
    these to the kernel at once, which clears each page again before it hands it out.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
