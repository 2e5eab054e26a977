"""What runs leave behind in a process that trains many of them, one after another.

    python benchmarks/many_runs.py [--runs=50]

Each run is a short one on arrays in memory, with all the files that a run writes. The table has the
memory and the number of threads of the process, after garbage collection. Writes
benchmarks/results/many_runs_*.json.
"""

import argparse
import gc
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn import default_config, train
from jaxcnn.data.dataset import dataset_from_arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    logging.getLogger("jaxcnn").setLevel(logging.WARNING)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (250, 12, 12, 1)).astype(np.uint8)
    dataset = dataset_from_arrays((images, np.arange(250) % 3))
    config, process = default_config(), psutil.Process()
    config.model.name = "linear"
    config.data.augment = [{"name": "horizontal_flip"}]
    config.train.update({"duration": "10 steps", "global_batch_size": 32})
    config.eval.every = "5 steps"
    rows = []
    print(f"{'runs':>5}{'memory':>12}{'threads':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, arguments.runs + 1):
            config.seed = number
            train(config, Path(folder, str(number)), dataset=dataset)
            if number % 5 == 0:
                gc.collect()
                rows.append((number, process.memory_info().rss // 2**20, process.num_threads()))
                print("{:>5}{:>8,} MiB{:>10}".format(*rows[-1]), flush=True)
    measure.save("many_runs", {"runs, MiB, threads": rows})


if __name__ == "__main__":
    main()
