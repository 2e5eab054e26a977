"""How the C library and XLA are set up for a CPU, before JAX is first used."""

import ctypes
import os
import platform

import jax
import jaxlib.version

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of malloc.h


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
