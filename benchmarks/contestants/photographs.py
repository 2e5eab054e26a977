"""What all do to photographs: ImageNet's usual normalisation, and the strength of colour jitter."""

import pickle
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels in [0, 1]
JITTER = 0.4


def encoded_photographs(folder: Path) -> tuple[list[bytes], list[int]]:
    """The JPEG files' bytes, and their labels."""
    return pickle.loads((folder / "photographs.pickle").read_bytes())
