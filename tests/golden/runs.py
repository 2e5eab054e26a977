"""Short runs whose metrics are kept, so that a change of the code cannot change what a run computes.

`python -m tests.golden.runs DIRECTORY NAME …` runs those anew and writes their lines, in float64.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ml_collections import ConfigDict

STEPS = 50
DEVICES = {"digits_lenet": 1, "warm_up": 1, "resnet20_cifar": 1, "eight_devices": 8}
KEPT = Path(__file__).with_name("runs.json")


def config_of(name: str) -> ConfigDict:
    """The config of a golden run: float64, a line for every step, an evaluation every tenth."""
    from jaxcnn import default_config

    config = default_config()
    config.train.duration = f"{STEPS} steps"
    config.eval.every = config.checkpoint.every = "10 steps"
    config.log.every = "1 step"
    config.model = ConfigDict({"dtype": "float64", "param_dtype": "float64"})
    if name in ("digits_lenet", "warm_up"):
        config.model.name = "lenet5"
        config.data.resize = 32
        config.train.global_batch_size = 64
        config.optimizer.learning_rate = 0.05
        if name == "warm_up":
            config.optimizer.name = "adam"
            config.optimizer.learning_rate = 0.003
            config.schedule.warmup = "10 steps"
        return config
    config.data = ConfigDict(
        {"source": "synthetic", "resize": 16, "train_images": 400, "test_images": 50}
    )
    config.model.name = "resnet20_cifar"
    config.train.global_batch_size = 16
    if name == "resnet20_cifar":
        config.data.augment = [{"name": "pad_and_crop"}, {"name": "horizontal_flip"}]
        config.model.dropout_rate = 0.1
        config.loss.l2_regularization = 1e-4
        config.loss.label_smoothing = 0.1
        config.optimizer.learning_rate = 0.01
        config.optimizer.clip_norm = 1.0
        config.averaging = ConfigDict({"name": "ema", "decay": 0.9})
        config.train.microbatches = 2
    else:
        config.data.augment = [{"name": "cutout"}]
        config.data.mix = [{"name": "mixup", "probability": 0.5}]
        config.data.placement = "device"
        config.optimizer.name = "adamw"
        config.optimizer.learning_rate = 1e-3
        config.optimizer.weight_decay = 0.01
        config.schedule.name = "one_cycle"
    return config


def lines_of(name: str, workdir: Path) -> list[dict]:
    """Trains in a process of its own, which has the run's number of devices; returns its metrics."""
    flags = f"--xla_force_host_platform_device_count={DEVICES[name]}"
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.golden.runs", "--train", name, str(workdir)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in lines]


def _train(name: str, workdir: str) -> None:
    from jaxcnn import train

    train(config_of(name), workdir)


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        _train(*sys.argv[2:])
    else:
        runs = json.loads(KEPT.read_text())
        for each in sys.argv[2:]:
            runs[each] = lines_of(each, Path(sys.argv[1], each))
        KEPT.write_text(json.dumps(runs) + "\n")
