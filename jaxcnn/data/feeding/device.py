"""A data set that lies on the devices as it is stored; its batches are made in a compiled program."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import psutil

from jaxcnn.data.augment.arrays import jax_arrays
from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import preparation
from jaxcnn.data.feeding.selection import Selection
from jaxcnn.errors import UserError

SHARE_OF_MEMORY = 0.8  # the rest is for the network


class DeviceSplit(flax.struct.PyTreeNode):
    """A split whose images, uint8 or float32 as stored, and labels lie on each device."""

    images: jax.Array
    labels: jax.Array


def check_placement(dataset: Dataset) -> None:
    """Refuses what cannot lie on a device.

    Raises:
      UserError: the images stay on disk, or there is not the memory for them.
    """
    needed = 0
    for split in dataset.splits.values():
        if not isinstance(split.images, np.ndarray):
            raise UserError(
                "config.data.placement='device' is for images in memory, and these stay on disk; "
                "valid: 'host'"
            )
        needed += split.images.nbytes + split.labels.nbytes
    device = jax.local_devices()[0]
    memory = device.memory_stats() or {}
    copies = jax.local_device_count() if device.platform == "cpu" else 1
    free = memory.get("bytes_limit", psutil.virtual_memory().available) - memory.get(
        "bytes_in_use", 0
    )
    if needed * copies > SHARE_OF_MEMORY * free:
        raise UserError(
            f"config.data.placement='device': the images take {needed * copies / 1e9:.1f} GB, and "
            f"{device.device_kind} has {free / 1e9:.1f} GB free, a part of which the network needs; "
            "valid: 'host'"
        )


def batch_of(
    split: DeviceSplit,
    selection: Selection,
    dataset: Dataset,
    augmentations: Sequence[Augmentation] = (),
) -> dict[str, jax.Array]:
    """The batch of one step, as `pipeline.train_batches` describes it; to be traced.

    Args:
      selection: of one step, arrays (batch, …) on the devices.
      dataset: says how the images are normalised.
    """
    images = jnp.take(split.images, selection.index, axis=0)
    for step in preparation(jax_arrays, dataset, augmentations):
        # Of several together XLA would make one loop that computes much twice.
        images = jax.lax.optimization_barrier(step(images, selection.draws))
    return {
        "image": images,
        "label": jnp.take(split.labels, selection.index, axis=0),
        "mask": selection.mask,
    }
