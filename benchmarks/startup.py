"""Time from the command to the end of the first training step, with an empty and a warm compile cache.

    python benchmarks/startup.py

Starts `jaxcnn train` on the digits as a user does, and waits for the log line of its first step.
Each round starts it twice: with an empty cache, and with the programs cached by the first start.
Writes benchmarks/results/startup_*.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

ROOT = Path(__file__).parent.parent


def seconds_to_first_step(config: str, cache: str) -> float:
    """Starts the command, reads its output up to the line of the first step, and stops it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = cache
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "jaxcnn", "train", f"--config={config}"]
        command += [f"--workdir={workdir}/run", "--config.log.every=1 steps"]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        line = "it printed nothing"
        for line in process.stderr:
            if line.startswith("step 1/"):
                break
        else:
            raise SystemExit(f"no step was taken: {line.strip()}")
        seconds = time.perf_counter() - start
        process.kill()
        process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/digits_lenet.py")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    empty, warm = [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(seconds_to_first_step(arguments.config, cache))
            warm.append(seconds_to_first_step(arguments.config, cache))
    print(f"{'from the command to the first step':<40}{'median':>8}{'least':>8}{'most':>8}")
    rows = {"empty cache": measure.spread(empty, 2), "warm cache": measure.spread(warm, 2)}
    for name, row in rows.items():
        print(f"{name:<40}" + "".join(f"{row[key]:>6.1f} s" for key in ("median", "min", "max")))
    measure.save("startup", {"config": arguments.config, "seconds": rows})


if __name__ == "__main__":
    main()
