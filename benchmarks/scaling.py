"""Step time as a function of the number of devices, the batch size, the depth and the width.

    python benchmarks/scaling.py

On a CPU the devices are virtual and share its cores. Each row is a separate process; they take
turns. Writes benchmarks/results/scaling_*.json.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

SECONDS_PER_TURN = 1.5

ROWS = {
    "devices": [{"devices": devices} for devices in (1, 2, 4, 8)],
    "batch size": [{"batch_size": size} for size in (16, 32, 64, 128, 256)],
    "depth (layers)": [{"stage_sizes": [n, n, n]} for n in (1, 2, 3, 5)],
    "width (first stage)": [{"width": width} for width in (8, 16, 32)],
}


def label_of(row: dict) -> str:
    """The entry in the first column of the table."""
    if "stage_sizes" in row:
        return str(6 * row["stage_sizes"][0] + 2)
    return str(next(iter(row.values())))


def contestant(row: dict) -> None:
    """Runs as a contestant, in a separate process."""
    from benchmarks.contestants import with_jaxcnn

    batch_size = row.pop("batch_size", 128)
    row.pop("devices", None)
    images, labels = measure.random_batch((32, 32, 3), batch_size)
    measure.serve(with_jaxcnn.make_step("resnet20_cifar", images, labels, "float32", **row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant is not None:
        contestant(arguments.contestant)
        return

    tables = {}
    for title, rows in ROWS.items():
        racers = {}
        for row in rows:
            devices = row.get("devices", 1)
            # XLA's collectives each occupy a thread while they wait; with few threads they deadlock.
            environment = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": str(4 * devices)}
            racers[label_of(row)] = measure.Contestant(
                [str(Path(__file__)), f"--contestant={json.dumps(row)}"],
                **(environment if devices > 1 else {}),
            )
        seconds = {name: [] for name in racers}
        counts = {
            name: max(1, round(SECONDS_PER_TURN / racer.seconds(1)))
            for name, racer in racers.items()
        }
        for order in measure.in_turn(list(racers), arguments.rounds):
            for name in order:
                seconds[name].append(racers[name].seconds(counts[name]) / counts[name])
        for racer in racers.values():
            racer.stop()
        tables[title] = {name: measure.spread(values) for name, values in seconds.items()}
        print(f"\n{title:<22}{'ms per step':>12}{'least':>8}{'most':>8}")
        for name, row in tables[title].items():
            print(
                f"{name:<22}{1e3 * row['median']:>12,.0f}"
                f"{1e3 * row['min']:>8,.0f}{1e3 * row['max']:>8,.0f}"
            )
    measure.save("scaling", {"model": "resnet20_cifar", "seconds_per_step": tables})


if __name__ == "__main__":
    main()
