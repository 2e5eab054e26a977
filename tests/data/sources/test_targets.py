"""Regression targets in an .npz file."""

import numpy as np
import pytest

from jaxcnn.data.dataset import load_dataset
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


def npz_of(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return {"source": "npz", "path": str(path / "data.npz"), **COMMON}


COMMON = {
    "resize": 0, "validation_fraction": 0.0, "test_fraction": 0.0, "split_seed": 0,
    "stratified": False, "grey_to_colour": False, "mean": (), "std": (),
    "statistics": "train", "placement": "host", "augment": [], "mix": [],
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_targets_are_standardised_by_the_training_split(tmp_path, rng, shape):
    train, test = (rng.normal(5, 3, (n, *shape)) for n in (40, 10))
    images = rng.integers(0, 255, (50, 4, 4)).astype(np.uint8)
    dataset = load_dataset(
        npz_of(
            tmp_path,
            train_images=images[:40],
            train_targets=train,
            test_images=images[40:],
            test_targets=test,
        )
    )
    assert dataset.spec.class_names == ()
    assert dataset.spec.outputs == int(np.prod(shape))
    np.testing.assert_allclose(dataset.spec.targets.mean, train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.spec.targets.std, train.std(axis=0), rtol=1e-5)
    found = dataset.splits["test"].labels * dataset.spec.targets.std + dataset.spec.targets.mean
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(test, axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dataset.splits["train"].labels.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_targets": np.array(["a"] * 4)}, "train_targets is <U1; targets are numbers"),
        (
            {"train_targets": np.array([1, np.nan, 2, 3])},
            "train_targets holds NaN or infinity, first in example 1",
        ),
        ({"train_targets": np.ones(3)}, "train_targets must be of one length"),
        (
            {
                "train_targets": np.ones((4, 2)),
                "test_images": np.zeros((4, 4, 4), np.uint8),
                "test_targets": np.ones((4, 3)),
            },
            "the test targets have shape (3,), but the train targets have (2,)",
        ),
    ],
)
def test_wrong_targets(tmp_path, arrays, message):
    arrays = {"train_images": np.zeros((4, 4, 4), np.uint8), **arrays}
    with pytest.raises(UserError) as error:
        load_dataset(npz_of(tmp_path, **arrays))
    assert message in str(error.value)
