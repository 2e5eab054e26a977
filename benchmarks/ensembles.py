"""What ensembles gain: five seeds, and five snapshots of one run, beside single runs on Fashion-MNIST.

    TFDS_DATA_DIR=… python benchmarks/ensembles.py [--seeds=10] [--snapshot_runs=5]

LeNet-5 of configs/fashion_mnist_lenet.py, 15 epochs a run. The seeds make disjoint ensembles of five.
A run with snapshots has the same length, in five cycles of a cosine (Huang et al. 2017). Every figure
is of the last weights, on the test images; an interval is Student's, at 95%, over runs or ensembles.
Finished runs are kept in --folder, so that the same command goes on. Writes
benchmarks/results/ensembles_*.json.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import load_config, runtime, train
from jaxcnn.compare.statistics import mean_interval
from jaxcnn.train.ensemble import evaluate_ensemble, load_snapshots
from jaxcnn.train.saved_run import load_run

OF_EACH = 5
SNAPSHOTS = {
    "schedule.name": "cosine_restarts",
    "schedule.first": "3 epochs",
    "schedule.warmup": "0 steps",
    "checkpoint.snapshots": str(OF_EACH),
}
ROWS = ("one run", "5 seeds", "last of 5 snapshots", "5 snapshots")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--snapshot_runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/ensembles"))
    arguments = parser.parse_args()
    runtime.prepare()
    logging.getLogger("jaxcnn").setLevel(logging.WARNING)
    singles = [trained(arguments.folder / f"seed{s}", s, {}) for s in range(arguments.seeds)]
    cyclic = [
        trained(arguments.folder / f"snapshots{s}", s, SNAPSHOTS)
        for s in range(arguments.snapshot_runs)
    ]
    found = {row: {"accuracy": [], "loss": []} for row in ROWS}

    def note(row: str, metrics: dict) -> None:
        for name, values in found[row].items():
            values.append(metrics[name])

    for start in range(0, len(singles) - OF_EACH + 1, OF_EACH):
        members = [load_run(folder, "latest") for folder in singles[start : start + OF_EACH]]
        together, alone = evaluate_ensemble(members)
        note("5 seeds", together)
        for metrics in alone:
            note("one run", metrics)
    for folder in cyclic:
        together, alone = evaluate_ensemble(load_snapshots(folder, OF_EACH))
        note("5 snapshots", together)
        note("last of 5 snapshots", alone[-1])
    for row, metrics in found.items():
        accuracy, loss = (mean_interval(metrics[name]) for name in ("accuracy", "loss"))
        print(
            f"{row:>20}: {percent(accuracy)}, loss {loss.mean:.4f} ± {loss.high - loss.mean:.4f}, "
            f"n = {accuracy.n}"
        )
    measure.save("ensembles", found)


def trained(folder: Path, seed: int, changes: dict[str, str]) -> Path:
    config = load_config(
        "fashion_mnist_lenet",
        {
            "seed": str(seed), "data.placement": "device", "eval.every": "3 epochs",
            "checkpoint.every": "3 epochs", **changes,
        },
    )  # fmt: skip
    result = train(config, folder)
    print(f"{folder.name}: {result['final']['test']['accuracy']:.2%}", flush=True)
    return folder


def percent(interval) -> str:
    return f"{interval.mean:.2%} ± {100 * (interval.high - interval.mean):.2f}"


if __name__ == "__main__":
    main()
