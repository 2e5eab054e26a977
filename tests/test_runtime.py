import os
import subprocess
import sys

import pytest


def prepared(script: str, **environment: str) -> str:
    """What a process prints that has prepared."""
    inherited = {
        key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"
    }
    done = subprocess.run(
        [sys.executable, "-c", f"from jaxcnn import runtime; runtime.prepare()\n{script}"],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_cache_of_compiled_programs(tmp_path):
    cache = "import jax; print(jax.config.jax_compilation_cache_dir)"
    assert prepared(cache, XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "jaxcnn")
    assert prepared(cache, JAX_COMPILATION_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_freed_memory_is_kept():
    """A block that is freed and allocated again costs no new pages."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs glibc")
    script = """
import resource
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(160_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[1:]))
"""
    assert int(prepared(script)) < 1_000  # 160 MB are 39,000 pages of 4 KiB
