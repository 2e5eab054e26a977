"""A study whose workers are killed at random moments finds what an undisturbed one finds.

    python benchmarks/killed_sweep.py --kills=20 --workers=2
    python benchmarks/killed_sweep.py --kills=0 --workers=4

Runs the comparison of optimizers on the digits, kills a worker now and then, and compares with the
study in --reference, which an undisturbed sweep has written (it is run first if it is not there): the
list of trials, every evaluation, and every result but its times. Notes how long a killed worker's
trial waits for another worker. Writes benchmarks/results/killed_sweep_*.json.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure
from jaxcnn.compare.study import Study

CONFIG = "ablations/optimizers_digits"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reference", default="studies/optimizers_digits")
    parser.add_argument("--workdir", default="studies/killed")
    arguments = parser.parse_args()
    if not Path(arguments.reference, "trials.jsonl").exists():
        start(arguments.reference, 2).wait()
    begin = time.perf_counter()
    sweep = start(arguments.workdir, arguments.workers)
    waits = disturb(sweep, Path(arguments.workdir), arguments.kills)
    code = sweep.wait()
    minutes = (time.perf_counter() - begin) / 60
    found, expected = record(arguments.workdir), record(arguments.reference)
    same = [found[part] == expected[part] for part in ("trials", "results", "evaluations")]
    print(
        f"{arguments.workers} workers, {len(waits)} kills, {minutes:.1f} minutes, exit code {code}"
    )
    if waits:
        print(f"taken over after {min(waits):.1f} to {max(waits):.1f} s")
    print(
        "list of trials, results, evaluations: " + ", ".join("same" if s else "OTHER" for s in same)
    )
    measure.save(
        f"killed_sweep_{arguments.workers}_workers",
        {
            "kills": len(waits),
            "seconds until takeover": [round(wait, 1) for wait in waits],
            "minutes": round(minutes, 1),
            "exit code": code,
            "same trials, results, evaluations": same,
            "trials": len(found["results"]),
        },
    )


def start(workdir: str, workers: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "jaxcnn", "sweep", f"--config={CONFIG}"]
    return subprocess.Popen([*command, f"--workdir={workdir}", f"--workers={workers}"])


def disturb(sweep: subprocess.Popen, workdir: Path, kills: int) -> list[float]:
    """Kills workers that hold a trial; returns how long each trial waited for its next one."""
    chance, waits = random.Random(0), []
    while sweep.poll() is None and len(waits) < kills:
        time.sleep(chance.uniform(5, 20))
        held = holders(workdir)
        if sweep.poll() is not None or not held:
            continue
        file, process = chance.choice(sorted(held.items()))
        with_kill = time.monotonic()
        psutil.Process(process).send_signal(signal.SIGKILL)
        newer = file.with_name(f"lease-{int(file.name[-6:]) + 1:06}")
        while not newer.exists() and sweep.poll() is None:
            time.sleep(0.1)
        waits.append(time.monotonic() - with_kill)
    return waits


def holders(workdir: Path) -> dict[Path, int]:
    """The newest lease of each trial that a living process holds."""
    found = {}
    for trial in workdir.glob("trials/*/*"):
        newest = max(trial.glob("lease-*[0-9]"), default=None)
        holder = json.loads(newest.read_text() or "{}") if newest else {}
        if holder and not holder["released"] and psutil.pid_exists(holder["process"]):
            found[newest] = holder["process"]
    return found


def record(path: str) -> dict:
    """All that a study found, without times."""
    study, found = Study.read(path), {"results": {}, "evaluations": {}}
    for trial in study.trials():
        result = study.workdir(trial).read_result()
        found["results"][trial.name] = {k: v for k, v in result.items() if k != "seconds"}
        found["evaluations"][trial.name] = [
            line for line in study.workdir(trial).read_metrics() if line["split"] == "validation"
        ]
    return {**found, "trials": Path(path, "trials.jsonl").read_text()}


if __name__ == "__main__":
    main()
