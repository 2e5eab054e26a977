"""How JAX is set up before its first use: the CPU's devices and memory, the compiled programs' cache.

Only the command line calls this. Who trains from Python, and wants the same speed on a CPU, calls
`prepare` before anything touches a device. Accelerators gain from the cache alone.
"""

import contextlib
import ctypes
import os
import platform
from pathlib import Path

import jax

# With fewer images each, devices wait for one another more than they gain.
_LEAST_IMAGES_PER_DEVICE = 16

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of malloc.h


def prepare(batch_size: int) -> None:
    """Sets up JAX for training in batches of that size (docs/performance.md has what each part gains).

    On a CPU the batch is divided among one device per core, or fewer where it would not divide
    evenly, and freed memory is kept. Compiled programs are kept in the user's cache directory. What
    the user has chosen stands: XLA_FLAGS, JAX_NUM_CPU_DEVICES, JAX_COMPILATION_CACHE_DIR.
    """
    keep_freed_memory()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "jaxcnn")
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not (chosen or "JAX_NUM_CPU_DEVICES" in os.environ):
        with contextlib.suppress(RuntimeError):  # the devices are in use already
            jax.config.update("jax_num_cpu_devices", devices_for(batch_size, _cores()))


def devices_for(batch_size: int, cores: int) -> int:
    """The largest divisor of the batch size, at most one per core, with enough images for each."""
    most = max(1, min(cores, batch_size // _LEAST_IMAGES_PER_DEVICE))
    return next(devices for devices in range(most, 0, -1) if batch_size % devices == 0)


def _cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
