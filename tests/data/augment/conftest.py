"""What the tests of augmentations share: a batch of images to change."""

import pytest

from tests.data.augment.augmented import smooth


@pytest.fixture
def images(rng):
    return smooth(rng, (32, 9, 9, 3))
