"""State that is split over the devices: the same run as with copies, on any number of devices."""

import json
import os
import subprocess
import sys

import pytest

from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT

# A network with arrays above and below 64 KiB; batch normalisation, dropout, Adam, clipping, averages
# with statistics of their own, a plateau and microbatches are on.
TRAIN = """
import sys
import jax
from jaxcnn import default_config, train
from jaxcnn.layout import Layout
from jaxcnn.train.observers import Observer
from jaxcnn.train.saved_run import load_state

class Stop(Observer):
    def on_validation(self, line):
        return line["step"] == int(stop)

workdir, sharding, stop = sys.argv[1:]
config = default_config()
config.sharding = sharding
config.model = {"name": "simple_cnn", "widths": (4, 8), "hidden": 512, "dropout_rate": 0.2,
                "dtype": "float64", "param_dtype": "float64"}
config.data.augment = [{"name": "pad_and_crop", "padding": 1}]
config.optimizer.update({"name": "adam", "learning_rate": 0.01, "clip_norm": 1.0})
config.averaging = {"name": "ema", "decay": 0.9, "batch_stats": "reestimated"}
config.schedule = {"name": "reduce_on_plateau", "patience": 1, "threshold": 0.5}
config.train.update({"duration": "12 steps", "global_batch_size": 32, "microbatches": 2})
config.eval.every = config.monitor.every = "4 steps"
config.log.every = "1 step"
train(config, workdir, observers=[Stop()])

state = load_state(workdir)
for tree in (state.params, state.averaged_params, state.opt_state.inner.inner_state[0].mu):
    kernel, bias = tree["dense"]["kernel"], tree["dense"]["bias"]
    parts = 1 if sharding == "replicated" else jax.device_count()
    assert kernel.addressable_shards[0].data.size == kernel.size / parts, kernel.sharding
    assert bias.addressable_shards[0].data.size == bias.size
"""


def started(workdir, devices, sharding, stop=0):
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "NPROC": str(4 * devices),  # threads: docs/performance.md, "Virtual devices"
    }
    command = [sys.executable, "-c", TRAIN, str(workdir), sharding, str(stop)]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip


def ended(process):
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def lines_of(workdir):
    """The lines, without the speed, and without biases before a normalisation: those are rounding."""
    left_out = ("examples_per_second", "conv1/bias", "conv2/bias")
    lines = Workdir(workdir).read_metrics()
    return [{k: v for k, v in line.items() if not k.endswith(left_out)} for line in lines]


def test_a_run_goes_on_with_other_devices_and_another_sharding(tmp_path):
    """8 devices, each with a part, then one, then 4: as a run on one device, in float64 to 1e-9."""
    undisturbed = started(tmp_path / "undisturbed", 1, "replicated")
    elastic = tmp_path / "elastic"
    ended(started(elastic, 8, "fsdp", stop=4))
    resumed = ended(started(elastic, 1, "replicated", stop=8))
    assert "resuming with another setting: config.sharding: 'fsdp' → 'replicated'" in resumed
    ended(started(elastic, 4, "fsdp"))
    ended(undisturbed)
    lines = lines_of(elastic)
    assert [line["step"] for line in lines if line["split"] == "train"] == [*range(1, 13)]
    for line, expected in zip(lines, lines_of(tmp_path / "undisturbed"), strict=True):
        assert line == {
            key: value if isinstance(value, str) else pytest.approx(value, rel=1e-9)
            for key, value in expected.items()
        }
    results = [Workdir(tmp_path / name).read_result() for name in ("elastic", "undisturbed")]
    assert results[0]["final"]["test"] == pytest.approx(results[1]["final"]["test"], rel=1e-9)
    devices = [len(start["devices"]) for start in Workdir(elastic).read_environments()]
    assert devices == [8, 1, 4]
    assert json.loads(Workdir(elastic).config.read_text())["sharding"] == "fsdp"
