import os
import subprocess
import sys

import jax
import pytest

from jaxcnn import runtime


@pytest.mark.parametrize(
    ("batch_size", "cores", "devices"),
    [
        (128, 2, 2),
        (128, 1, 1),
        (127, 2, 1),  # does not divide
        (96, 5, 4),
        (100, 8, 5),  # the largest divisor
        (64, 16, 4),  # 16 images each, no fewer
        (8, 4, 1),
        (1, 4, 1),
    ],
)
def test_devices_for(batch_size, cores, devices):
    assert runtime.devices_for(batch_size, cores) == devices


def prepared(script: str, **environment: str) -> str:
    """What a process prints that has prepared for batches of 128."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_COMPILATION_CACHE_DIR")
    }
    done = subprocess.run(
        [sys.executable, "-c", f"from jaxcnn import runtime; runtime.prepare(128)\n{script}"],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


COUNT = "import jax; print(jax.local_device_count('cpu'))"


def test_one_device_per_core():
    expected = runtime.devices_for(128, len(os.sched_getaffinity(0)))
    assert prepared(COUNT) == str(expected)


def test_the_users_choice_stands(tmp_path):
    assert prepared(COUNT, JAX_NUM_CPU_DEVICES="3") == "3"
    assert prepared(COUNT, XLA_FLAGS="--xla_force_host_platform_device_count=5") == "5"
    cache = "import jax; print(jax.config.jax_compilation_cache_dir)"
    assert prepared(cache, XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "jaxcnn")
    assert prepared(cache, JAX_COMPILATION_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_too_late_changes_no_device():
    before = jax.devices()
    runtime.prepare(128)
    assert jax.devices() == before


def test_freed_memory_is_kept():
    """A block that is freed and allocated again costs no new pages."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs glibc")
    script = """
import resource
import numpy as np
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(20_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[1:]))
"""
    assert int(prepared(script)) < 1_000  # 160 MB are 39,000 pages of 4 KiB
