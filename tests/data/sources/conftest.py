"""A folder of photographs of two classes."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path, rng):
    """root/{cat,dog}/: grey and colour, JPEG and PNG, of several sizes, and a file that is no image."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i, (size, mode, suffix) in enumerate(
            [((20, 10), "RGB", "png"), ((9, 30), "L", "png"), ((16, 16), "RGB", "jpg")] * 4
        ):
            pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / name / f"{i}.{suffix}")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path
