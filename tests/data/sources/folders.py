"""Folders of images, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.split import Source
from jaxcnn.errors import UserError
from tests.data.sources.loading import load


def error_of_folder(root: Path, **settings) -> str:
    with pytest.raises(UserError) as error:
        load("folder", resize=8, root=str(root), **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def put(root: Path, *names: str) -> None:
    """Images of 8 × 8 pixels, or, by their suffix, other files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".heic", ".db", ".DS_Store", ""):
            path.write_text("no image")
        else:
            Image.new("RGB", (8, 8)).save(path)


def counts(source: Source) -> dict[str, list[int]]:
    """The images of each class, by split."""
    return {name: np.bincount(split.labels).tolist() for name, split in source.splits.items()}
