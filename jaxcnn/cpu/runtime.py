"""C library and XLA setup for a CPU, before JAX is first used."""

import ctypes
import os
import platform

import jax
import jaxlib.version

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # from malloc.h


def share_convolutions() -> None:
    """Makes XLA split each convolution across the CPU's cores; initialises JAX's devices.

    XLA 0.10 delegates most CPU convolutions to YNNPACK, which runs each on one core. YNNPACK
    remains in use for matrix products and sums, which it does split. An option set in XLA_FLAGS
    takes precedence.
    """
    option, given = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS")
    # From 0.11 on, YNNPACK's convolutions use every core and are faster. XLA aborts on an unknown
    # option, and TensorFlow contains its own XLA, so the option is set only while JAX
    # reads the flags, once, when it initialises its devices.
    if jaxlib.version.__version_info__[:2] != (0, 10) or option in (given or ""):
        return
    os.environ["XLA_FLAGS"] = f"{given or ''} {option}=-individual_convolution".strip()
    try:
        jax.devices()
    finally:
        os.environ.pop("XLA_FLAGS")
        if given is not None:
            os.environ["XLA_FLAGS"] = given


def keep_freed_memory() -> None:
    """Makes glibc retain freed memory for later allocations; does nothing with another C library.

    XLA allocates its buffers anew at every step. By default glibc returns blocks of that size to
    the kernel at once, and the kernel clears every page before it hands it out again.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
