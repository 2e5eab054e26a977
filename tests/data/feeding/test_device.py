"""Data on the devices: the host's batches in the host's order."""

import itertools
import os
import subprocess
import sys
from contextlib import closing

import jax
import numpy as np
import pytest

from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding import device as on_device
from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout
from tests.conftest import ROOT

AUGMENT = [
    {"name": "horizontal_flip"},
    {"name": "pad_and_crop", "padding": 1},
    {"name": "cutout", "size": 3, "probability": 0.5},
    {"name": "brightness"},
]


def both(dataset, batch_size=32):
    augmentations, layout = create_augmentations(AUGMENT), Layout.over_all_devices()
    return [feed(dataset, layout, augmentations, batch_size, 5) for feed in (HostFeed, DeviceFeed)]


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
        assert apart.max() < 1.01 / blobs.spec.std.min()
        assert (apart > 1e-5).mean() < 1e-3


def test_the_same_evaluation_batches_as_the_host_s(blobs):
    host, device = (take(feed.eval_batches("test", 16), 4) for feed in both(blobs))
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_array_equal(ours["label"], theirs["label"])
        np.testing.assert_array_equal(ours["mask"], theirs["mask"])
        np.testing.assert_allclose(ours["image"], theirs["image"], atol=1e-6)


def test_what_does_not_fit_is_refused(blobs, monkeypatch):
    monkeypatch.setattr(on_device, "SHARE_OF_MEMORY", 1e-9)
    with pytest.raises(UserError, match="config.data.placement='device': the images take 0.0 GB"):
        both(blobs)


def test_floats_stay_what_they_are(rng):
    images = rng.normal(size=(40, 6, 6, 2)).astype(np.float32)
    dataset = dataset_from_arrays((images, np.arange(40) % 4), validation_fraction=0.0)
    layout = Layout.over_all_devices()
    host, device = (
        take(feed(dataset, layout, (), 8, 0).train_batches(0), 5) for feed in (HostFeed, DeviceFeed)
    )
    for ours, theirs in zip(device, host, strict=True):
        np.testing.assert_allclose(ours["image"], theirs["image"], rtol=1e-6, atol=1e-6)


SHARDED = """
import jax, numpy as np
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding.device import DeviceFeed
from jaxcnn.layout import Layout
from tests.data.feeding.test_device import AUGMENT, take

layout, rng = Layout.over_all_devices(), np.random.default_rng(0)
whole = rng.integers(0, 256, (101, 6, 6, 1)).astype(np.uint8)
floats = np.where(rng.random(whole.shape) < 0.5, -0.0, rng.normal(size=whole.shape))
for images, augment in ((whole, AUGMENT), (floats.astype(np.float32), AUGMENT[:1])):
    dataset = dataset_from_arrays((images, np.arange(101) % 4), validation_fraction=0.0)
    parts = layout, create_augmentations(augment), 16, 5
    device, sharded = (DeviceFeed(dataset, *parts, sharded=each) for each in (False, True))
    held = sharded.split("train").images
    assert held.shape[0] == 104 and {s.data.shape[0] for s in held.addressable_shards} == {13}
    for batches in (
        [take(feed.train_batches(3), 9) for feed in (device, sharded)],  # into the second epoch
        [take(feed.eval_batches("train", 16), 9) for feed in (device, sharded)],
    ):
        for ours, theirs in zip(*batches, strict=True):
            assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)
            assert ours["image"].dtype == np.float32
print("equal")
"""


def test_images_split_over_the_devices_make_the_same_batches_to_the_bit():
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "32"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "equal\n", done.stderr[-2000:]


def test_the_memory_of_each_device_is_counted(blobs, monkeypatch):
    """36 KB of images: too much for a device with 20 KB, but a quarter of them is not."""
    monkeypatch.setattr(on_device.psutil, "virtual_memory", lambda: Memory(20_000))
    with pytest.raises(UserError, match="config.data.placement='device': the images take"):
        on_device.check_placement(blobs, 1)
    on_device.check_placement(blobs, 4)
    with pytest.raises(UserError, match="config.data.placement='device_sharded': the images take"):
        on_device.check_placement(blobs, 2)


class Memory:
    def __init__(self, available):
        self.available = available
