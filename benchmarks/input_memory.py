"""The resident memory of an input pipeline of photographs over two epochs.

    python benchmarks/input_memory.py [--images 4096]

The photographs are generated JPEG files of about ImageNet's size in a TFDS set. They become batches
of 64 images of 224 × 224 pixels, with Inception's crop, a flip and normalisation. Writes
benchmarks/results/input_memory_*.json.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.config import default_config
from jaxcnn.data.augment.table import create_augmentations
from jaxcnn.data.dataset import load_dataset
from jaxcnn.data.feeding.host import train_batches
from tests.photographs import make_photographs

BATCH_SIZE = 64
AUGMENT = [{"name": "random_resized_crop"}, {"name": "horizontal_flip"}]


def resident() -> int:
    """The resident memory of this process in MB."""
    return round(psutil.Process().memory_info().rss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4096)
    images = parser.parse_args().images
    runtime.prepare()
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(folder, images)
        on_disk = sum(path.stat().st_size for path in Path(folder).glob("*/*/*train*"))
        before = resident()
        dataset = load_dataset(
            default_config().data.to_dict()
            | {"source": "tfds", "name": "photographs", "data_dir": folder, "resize": 224}
            | {"statistics": "imagenet", "validation_fraction": 0.0}
        )
        batches = train_batches(dataset, create_augmentations(AUGMENT), BATCH_SIZE, seed=0)
        steps_per_epoch, at_step = images // BATCH_SIZE, {}
        for step in range(1, 2 * steps_per_epoch + 1):
            next(batches)
            if step in (4, steps_per_epoch // 2) or step % (steps_per_epoch // 2) == 0:
                at_step[step] = resident()
        batches.close()
    decoded = images * 224 * 224 * 3
    print(
        f"{images:,} photographs, {on_disk / 1e6:,.0f} MB of JPEG, {decoded / 1e6:,.0f} MB decoded"
    )
    print(f"before the first batch {before:>8,} MB")
    for step, size in at_step.items():
        print(f"epoch {step / steps_per_epoch:<17.2f}{size:>7,} MB")
    measure.save(
        "input_memory",
        {
            "images": images,
            "megabytes_on_disk": round(on_disk / 1e6),
            "megabytes_before": before,
            "megabytes_at_step": at_step,
            "steps_per_epoch": steps_per_epoch,
        },
    )


if __name__ == "__main__":
    main()
