import os
import subprocess
import sys

import jaxlib.version
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


OF_A_CONVOLUTION = """
import jax
images, kernel = jax.numpy.ones((64, 16, 16, 32)), jax.numpy.ones((3, 3, 32, 32))
convolve = jax.jit(lambda x, w: jax.lax.conv_general_dilated(
    x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
product = jax.jit(jax.numpy.dot).lower(jax.numpy.ones((512, 512)), jax.numpy.ones((512, 512)))
print("ynn" in convolve.lower(images, kernel).compile().as_text(), "ynn" in product.compile().as_text())
"""


def test_convolutions_are_ynnpacks_only_where_it_shares_them():
    """Not in XLA 0.10; its products it shares in every version."""
    by_ynnpack = jaxlib.version.__version_info__[:2] != (0, 10)
    assert prepared(OF_A_CONVOLUTION, JAX_PLATFORMS="cpu") == f"{by_ynnpack} True"
    chosen = "--xla_cpu_experimental_ynn_fusion_type=individual_convolution"
    assert prepared(OF_A_CONVOLUTION, JAX_PLATFORMS="cpu", XLA_FLAGS=chosen) == "True False"


def test_the_flags_are_left_as_they_were():
    """TensorFlow reads them too, and ends the process where it does not know one."""
    flags = "import os; print(os.environ.get('XLA_FLAGS'))"
    assert prepared(flags) == os.environ.get("XLA_FLAGS", "None")
    given = "--xla_force_host_platform_device_count=2"
    assert (
        prepared(f"{flags}; import jax; print(jax.device_count())", XLA_FLAGS=given)
        == f"{given}\n2"
    )


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
