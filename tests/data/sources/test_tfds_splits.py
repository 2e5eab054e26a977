"""TFDS sets whose splits have other names, and whose images are of another dtype."""

import numpy as np
import pytest
import tensorflow_datasets

from jaxcnn.data.sources.tfds import _named_splits
from jaxcnn.errors import UserError
from tests.data.sources.loading import load


class Info:
    num_examples = 10


def test_splits_by_any_of_their_names_and_the_rest_is_told():
    found, remarks = _named_splits(dict.fromkeys(["train", "valid", "testing", "extra"], Info))
    assert found == {"train": "train", "validation": "valid", "test": "testing"}
    assert remarks == ["left out of the TFDS data set: extra (10 images)"]
    with pytest.raises(UserError, match="has both 'test' and 'testing' for the test split"):
        _named_splits(dict.fromkeys(["train", "test", "testing"], Info))


class OddSplits(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    """Splits under other names, and images of a dtype."""

    name = "odd_splits"
    VERSION = tensorflow_datasets.core.Version("1.0.0")
    DTYPE, COUNTS = np.uint8, {"train": 20, "valid": 6, "testing": 4, "extra": 8}

    def _info(self):
        features = tensorflow_datasets.features
        image = features.Image(shape=(4, 4, 1), dtype=self.DTYPE, encoding_format="png")
        described = features.FeaturesDict({
            "image": image, "label": features.ClassLabel(names=["a", "b"]),
        })  # fmt: skip
        return tensorflow_datasets.core.DatasetInfo(builder=self, features=described)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in self.COUNTS.items()}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": np.full((4, 4, 1), i, self.DTYPE), "label": i % 2}


class DeepImages(OddSplits, skip_registration=True):
    name = "deep_images"
    DTYPE = np.uint16


@pytest.mark.parametrize("builder", [OddSplits, DeepImages])
def test_a_set_of_other_splits_and_one_of_other_images(tmp_path, builder):
    builder(data_dir=tmp_path).download_and_prepare()
    if builder is DeepImages:
        with pytest.raises(UserError, match="has images of uint16, but only uint8 is read"):
            load("tfds", name=builder.name, data_dir=str(tmp_path))
        return
    source = load("tfds", name=builder.name, data_dir=str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 20, "validation": 6, "test": 4}
    assert source.remarks == ("left out of the TFDS data set: extra (8 images)",)
