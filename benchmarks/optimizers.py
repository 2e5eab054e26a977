"""Every optimizer with its default settings: test accuracy of LeNet-5 on the digits.

    python benchmarks/optimizers.py [PATTERN]

Uses `configs/digits_lenet.py` for 20 epochs (405 steps of 64 images) of its cosine schedule and
warm-up, without the L2 penalty, and evaluates the final weights. Takes ten minutes on two cores.
Without a pattern, writes benchmarks/results/optimizers_*.json.
"""

import argparse
import fnmatch
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax

from benchmarks import measure
from jaxcnn import runtime
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.train.experiment import load_config
from jaxcnn.train.judge import DivergedError
from jaxcnn.train.start import train

CONFIG = Path(__file__).parent.parent / "configs" / "digits_lenet.py"
OVERRIDES = {
    "loss.l2_regularization": "0",
    "train.duration": "20 epochs",
    "eval.every": "20 epochs",
    "log.every": "20 epochs",
    "checkpoint.every": "20 epochs",
}


def accuracy(name: str) -> float:
    """Accuracy on the 360 test images after the last step; 0 if the run diverged."""
    config = load_config(CONFIG, {**OVERRIDES, "optimizer.name": name})
    with tempfile.TemporaryDirectory() as workdir:
        try:
            return train(config, workdir)["final"]["test"]["accuracy"]
        except DivergedError:
            return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*")
    pattern = parser.parse_args().pattern
    logging.basicConfig(level=logging.ERROR)
    runtime.prepare()
    rows = {}
    for name in fnmatch.filter(OPTIMIZERS.names(), pattern):
        settings = OPTIMIZERS.settings(name)
        rows[name] = {"settings": settings, "accuracy": round(accuracy(name), 4)}
        shown = ", ".join(f"{key}={value}" for key, value in settings.items())
        print(f"| `{name}` | {shown} | {rows[name]['accuracy']:.1%} |", flush=True)
        jax.clear_caches()
    if pattern == "*":
        measure.save("optimizers", {"overrides": OVERRIDES, "optimizers": rows})


if __name__ == "__main__":
    main()
