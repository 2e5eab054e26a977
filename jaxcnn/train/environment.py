"""The environment of a run, and what of it may change the run's bits."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax

from jaxcnn import hosts

_PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "clu", "ml-collections", "numpy",
    "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "scikit-learn",
)  # fmt: skip
# The packages that compute.
_COMPUTING = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "numpy", "tensorflow", "tensorflow-cpu"
)  # fmt: skip
_JAX_FLAGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl",
    "jax_threefry_partitionable",
)  # fmt: skip


def environment() -> dict:
    """The environment as JSON: versions, devices, git revision, command line."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "processor": _processor(),
        "cores": _cores(),
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "jax_flags": {flag: getattr(jax.config, flag) for flag in _JAX_FLAGS},
        "processes": hosts.count(),
        "git_revision": _git_revision(),
    }


def _git_revision() -> str | None:
    """The commit of the checkout, with '-dirty' if files differ; None outside a checkout."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def other_conditions(former: Mapping, now: Mapping) -> list[str]:
    """What differs between two environments and may change the bits of a run, in words.

    On a CPU the number of cores counts: sums are split among them. What one of the environments does
    not state, since an earlier version wrote it, is not compared.
    """
    one, other = dict(_conditions(former)), dict(_conditions(now))
    return [
        f"{name} {one[name]} → {other[name]}"
        for name in one
        if name in other and one[name] != other[name]
    ]


def _conditions(environment: Mapping) -> Iterator[tuple[str, str]]:
    if "devices" in environment:
        counts = Counter(environment["devices"])
        yield "devices", ", ".join(f"{count} × {kind}" for kind, count in counts.items())
    of_the_host = ("cores", "processor") if environment.get("backend") == "cpu" else ()
    for name in ("backend", "processes", "xla_flags", *of_the_host):
        if name in environment:
            yield name, str(environment[name])
    versions = environment.get("versions", {})
    used = {name: versions[name] for name in _COMPUTING if name in versions}
    for name, value in {**used, **environment.get("jax_flags", {})}.items():
        yield name, str(value)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """The model of the processor, whose instructions XLA compiles for."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
