"""Data on the devices: the host's batches in the host's order, and steps that do not hang on grouping."""

import itertools
from contextlib import closing

import jax
import numpy as np
import pytest

from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding import device as on_device
from jaxcnn.errors import UserError
from jaxcnn.layout import make_mesh, replicated
from jaxcnn.train import feed as feeds
from jaxcnn.train.experiment import Experiment, resolve
from jaxcnn.train.feed import DeviceFeed, HostFeed
from jaxcnn.train.loop import train
from jaxcnn.train.state import init_state
from tests.train.test_loop import assert_same_bits

AUGMENT = [
    {"name": "horizontal_flip"},
    {"name": "pad_and_crop", "padding": 1},
    {"name": "cutout", "size": 3, "probability": 0.5},
    {"name": "brightness"},
]


def both(dataset, batch_size=32):
    augmentations, mesh = create_augmentations(AUGMENT), make_mesh()
    return [feed(dataset, mesh, augmentations, batch_size, 5) for feed in (HostFeed, DeviceFeed)]


def take(batches, count):
    with closing(batches):
        return jax.device_get(list(itertools.islice(batches, count)))


@pytest.mark.parametrize("start", [0, 7])
def test_the_same_training_batches_as_the_host_s(blobs, start):
    host, device = (take(feed.train_batches(start), 12) for feed in both(blobs))
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_array_equal(ours["label"], theirs["label"])
        np.testing.assert_array_equal(ours["mask"], theirs["mask"])
        # A pixel that is rounded may fall to the other side of a half.
        apart = np.abs(ours["image"] - theirs["image"])
        assert apart.max() < 1.01 / blobs.std.min()
        assert (apart > 1e-5).mean() < 1e-3


def test_the_same_evaluation_batches_as_the_host_s(blobs):
    host, device = (take(feed.eval_batches("test", 16), 4) for feed in both(blobs))
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_array_equal(ours["label"], theirs["label"])
        np.testing.assert_array_equal(ours["mask"], theirs["mask"])
        np.testing.assert_allclose(ours["image"], theirs["image"], atol=1e-6)


def test_how_steps_are_grouped_does_not_change_their_bits(small_config, blobs, monkeypatch):
    monkeypatch.setattr(feeds, "STEPS_PER_DISPATCH", {"cpu": 4})
    _, feed = both(blobs)
    experiment = Experiment.of(resolve(small_config), blobs, devices=1)

    def initial():
        shape, sharding = blobs.image_shape, replicated(feed.mesh)
        return init_state(experiment.model, experiment.recipe, shape, 0, sharding)

    feed.compile(experiment.model, experiment.recipe, initial())
    ends = []
    for limits in ([1] * 6, [100, 2], [2, 1, 3]):
        state, metrics = initial(), None
        with feed.from_step(0) as advance:
            for limit in limits:
                state, metrics, taken = advance(state, metrics, limit)
                assert taken == min(limit, 4)
        ends.append(jax.device_get((state.params, state.batch_stats, state.opt_state, metrics)))
    assert int(state.step) == 6
    assert_same_bits(ends[0], ends[1])
    assert_same_bits(ends[0], ends[2])


def test_both_placements_learn_the_same(small_config, blobs, tmp_path):
    """Rounding aside; one step is compiled with the batch's making, and one without."""
    results = []
    for placement in ("host", "device"):
        small_config.data.placement = placement
        results.append(train(small_config, tmp_path / placement, dataset=blobs)["final"]["test"])
    assert results[0]["count"] == results[1]["count"] == 50
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=0.02)


def test_what_does_not_fit_is_refused(blobs, monkeypatch):
    monkeypatch.setattr(on_device, "SHARE_OF_MEMORY", 1e-9)
    with pytest.raises(UserError, match="config.data.placement='device': the images take 0.0 GB"):
        both(blobs)


def test_floats_stay_what_they_are(rng):
    images = rng.normal(size=(40, 6, 6, 2)).astype(np.float32)
    dataset = dataset_from_arrays((images, np.arange(40) % 4), validation_fraction=0.0)
    mesh = make_mesh()
    host, device = (
        take(feed(dataset, mesh, (), 8, 0).train_batches(0), 5) for feed in (HostFeed, DeviceFeed)
    )
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_allclose(ours["image"], theirs["image"], rtol=1e-6, atol=1e-6)
