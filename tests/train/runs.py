"""Helpers for tests of whole runs: compare two runs, stop one early."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxcnn.train import loop
from jaxcnn.train.observers.base import Observer
from jaxcnn.train.preemption import Preempted
from jaxcnn.train.saved_run import load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir


def final_state(workdir):
    """The state that a run resumes from, as NumPy arrays."""
    return as_numpy(load_state(workdir))


def as_numpy(state):
    """A state with NumPy arrays; a random key becomes its integers."""
    return jax.tree.map(
        lambda leaf: np.asarray(
            jax.random.key_data(leaf)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        ),
        state,
    )


def is_same(one, other):
    """Whether two states have the same bits."""
    return jax.tree.all(jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), one, other))


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def without_time(lines):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in lines]


def of_splits(dataset, splits):
    """The same data with these splits only."""
    sizes = {name: len(split) for name, split in splits.items()}
    return type(dataset)(splits, replace(dataset.spec, sizes=sizes))


class Death(Observer):
    """Ends a run at a log line as a kill does: nothing more is written."""

    def __init__(self, step):
        self.step = step

    def on_log(self, line):
        if line["step"] >= self.step:
            raise KeyError("died")


def preempted(config, workdir, **data):
    """Trains until a signal ends the run; returns its result."""
    with pytest.raises(Preempted) as raised:
        train(config, workdir, **data)
    assert raised.value.result == Workdir(workdir).read_result()
    assert raised.value.result["status"] == "preempted"
    return raised.value.result


def stop_at(patch, stop_after):
    """Makes a run stop as SIGTERM does, after it has asked `stop_after` times whether to stop."""

    class Stop(loop.Preemption):
        asked = 0

        @property
        def requested(self):
            type(self).asked += 1
            return type(self).asked > stop_after

        @requested.setter
        def requested(self, value):
            """Ignored: only the count decides."""

    patch.setattr(loop, "Preemption", Stop)
