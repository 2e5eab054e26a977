"""Several runs in one program compute what each computes by itself."""

import contextlib
import functools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxcnn.compare.pack import PackLayout, align, train_pack
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.layout import Layout
from jaxcnn.train.experiment import resolve
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.observers import Observer
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.start import opened, run
from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT
from tests.train.runs import assert_same_bits, final_state, without_time

RATES = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 1e300)  # the last one diverges
NETWORKS = {
    "lenet5": {"name": "lenet5", "activation": "relu"},
    "batch_norm_and_dropout": {
        "name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2,
    },
}  # fmt: skip


def configs_of(network, placement, steps=50, dtype="float64"):
    """Eight learning rates with two seeds each."""
    config = default_config()
    config.model = {**NETWORKS[network], "dtype": dtype, "param_dtype": dtype}
    config.data.augment = [{"name": "pad_and_crop", "padding": 1}]
    config.data.placement = placement
    config.optimizer.name = "nesterov"
    if network == "batch_norm_and_dropout":  # each run then writes its state between steps
        config.averaging = {"name": "ema", "batch_stats": "reestimated"}
    config.schedule.warmup = "5 steps"
    config.train.update({"duration": f"{steps} steps", "global_batch_size": 16})
    config.log.every = config.eval.every = config.checkpoint.every = "25 steps"
    for rate in RATES:
        for seed in (0, 1):
            config.optimizer.learning_rate, config.seed = rate, seed
            yield resolve(config)


def images_for(network):
    rng = np.random.default_rng(0)
    side = 28 if network == "lenet5" else 12
    images = rng.integers(0, 256, (120, side, side, 1)).astype(np.uint8)
    return dataset_from_arrays((images, np.arange(120) % 10))


def packed(configs, folder, dataset, way, layout=None, size=None, observers=()):
    """Trains configs as a pack, each in a directory of its own; returns whether a signal came."""
    layout = layout or PackLayout.over(jax.devices()[:1])
    directories = [Workdir(folder / str(i)) for i in range(len(configs))]
    align(directories)
    with contextlib.ExitStack() as stack:
        runs = []
        for config, directory in zip(configs, directories, strict=True):
            watching = [MetricsFile(directory), *observers]
            one = Layout.on(jax.devices()[0])
            runs.append(stack.enter_context(opened(config, directory, watching, dataset, one)))
        train_pack(runs, way, layout, size or len(configs))
    return directories


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What each run of a network computes by itself: its directory, by number."""

    @functools.cache
    def train_alone(network):
        folder = tmp_path_factory.mktemp(network)
        directories = []
        for number, config in enumerate(configs_of(network, "device")):
            directories.append(Workdir(folder / str(number)))
            with contextlib.suppress(DivergedError):
                run(config, directories[-1], [MetricsFile(directories[-1])], images_for(network))
        return directories

    return train_alone


@pytest.mark.parametrize(
    ("network", "way", "placement"),
    [
        ("lenet5", "vmap", "device"),
        ("batch_norm_and_dropout", "vmap", "device"),
        ("batch_norm_and_dropout", "map", "host"),
    ],
)
def test_a_pack_is_its_runs(alone, tmp_path, network, way, placement):
    """50 steps in float64, to 1e-9; the largest learning rate diverges, and the others go on."""
    with jax.enable_x64(True):
        expected, configs = alone(network), list(configs_of(network, placement))
        together = packed(configs, tmp_path, images_for(network), way)
    statuses = [directory.read_result()["status"] for directory in together]
    assert statuses == ["completed"] * 14 + ["diverged"] * 2
    for mine, one in zip(together, expected, strict=True):
        same_but_for_rounding(mine.read_result(), one.read_result())
        for line, expected_line in zip(mine.read_metrics(), one.read_metrics(), strict=True):
            same_but_for_rounding(line, expected_line)


def same_but_for_rounding(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key in ("seconds", "examples_per_second"):
            continue
        if isinstance(value, dict):
            same_but_for_rounding(found[key], value)
        elif isinstance(value, float):
            assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key
        else:
            assert found[key] == value, key


class KillAt(Observer):
    """Ends a pack as SIGKILL would: nothing is closed in order."""

    def __init__(self, step):
        self.step = step

    def on_validation(self, line):
        if line["step"] == self.step:
            raise KeyboardInterrupt


def test_a_pack_that_is_killed_goes_on_to_the_same_bits(tmp_path):
    """Killed where only the first of its runs have saved; an ended run has a stand-in."""
    config = next(configs_of("batch_norm_and_dropout", "device", steps=40, dtype="float32"))
    config.eval.every = config.checkpoint.every = "10 steps"
    configs = []
    for seed, rate in enumerate((0.01, 1e30, 0.03)):
        config.seed, config.optimizer.learning_rate = seed, rate
        configs.append(resolve(config))
    dataset = images_for("batch_norm_and_dropout")
    whole = packed(configs, tmp_path / "whole", dataset, "vmap", size=4)
    with pytest.raises(KeyboardInterrupt):
        packed(configs, tmp_path / "killed", dataset, "vmap", size=4, observers=[KillAt(30)])
    left = [0, 2]
    directories = [Workdir(tmp_path / "killed" / str(i)) for i in range(3)]
    assert directories[1].read_result()["status"] == "diverged"
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    for i, number in enumerate(left):
        directories[number].path.rename(resumed / str(i))
    together = packed([configs[i] for i in left], resumed, dataset, "vmap", size=4)
    for mine, number in zip(together, left, strict=True):
        assert without_time(mine.read_metrics()) == without_time(whole[number].read_metrics())
        assert_same_bits(final_state(mine.path), final_state(whole[number].path))


ON_FOUR_DEVICES = """
import pathlib
import sys

import jax

from jaxcnn.compare.pack import PackLayout
from tests.compare.test_pack import configs_of, images_for, packed

jax.config.update("jax_enable_x64", True)
network, placement, folder = sys.argv[1:]
configs = list(configs_of(network, placement, steps=50))[:8]
layout = PackLayout.over(jax.devices())
assert jax.device_count() == 4
packed(configs, pathlib.Path(folder), images_for(network), "shard_map", layout)
"""
COLLECTIVES = "all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"


@pytest.mark.parametrize("placement", ["host", "device"])
def test_trials_on_several_devices_do_not_communicate(alone, tmp_path, placement):
    with jax.enable_x64(True):
        expected = alone("batch_norm_and_dropout")
    dump = tmp_path / "programs"
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 --xla_dump_to={dump}",
        "PYTHONPATH": str(ROOT),
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program from the cache is not dumped
    }
    command = [sys.executable, "-c", ON_FOUR_DEVICES, "batch_norm_and_dropout", placement, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    programs = [path.read_text() for path in dump.glob("*after_optimizations.txt")]
    assert any("f64[2," in program and "while" in program for program in programs)
    assert not [found for found in COLLECTIVES for program in programs if found in program]
    for number in range(8):
        mine = Workdir(tmp_path / str(number))
        same_but_for_rounding(mine.read_result(), expected[number].read_result())
