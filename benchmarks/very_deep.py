"""The cost of the training step of the deepest networks, with and without rematerialisation.

    python benchmarks/very_deep.py

Each network compiles and takes two steps at batch 8 in a separate process, with an empty compile
cache. Takes half an hour on two cores. Writes benchmarks/results/very_deep_*.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

BATCH_SIZE = 8
SHAPE = (32, 32, 3)
MODELS = ("preact_resnet1001_cifar", "resnet1202_cifar")
MIB = 2**20
_COMPILATION = "/jax/core/compile/backend_compile_duration"


def take_steps(name: str, remat: bool) -> dict:
    """Compiles, takes two steps, and returns the time and memory used."""
    import jax

    from benchmarks.contestants import with_jaxcnn

    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compilations.append(seconds) if event == _COMPILATION else None
    )
    start = time.perf_counter()
    images, labels = measure.random_batch(SHAPE, BATCH_SIZE)
    step, state, batch, recipe = with_jaxcnn.compiled_step(
        name, images, labels, "float32", remat=remat
    )
    ready, compiled_last = time.perf_counter(), compilations[-1]
    state, _ = step(state, batch, recipe)
    jax.block_until_ready(state)
    first = time.perf_counter()
    state, metrics = step(state, batch, recipe)
    jax.block_until_ready(state)
    loss = metrics.means.read()["loss"]
    assert loss == loss, "the loss is not a number"
    return {
        "initialise_and_trace_seconds": round(ready - start - compiled_last, 1),
        "compile_seconds": round(compiled_last, 1),
        "step_seconds": round(time.perf_counter() - first, 2),
        "step_mib": round(step.memory_analysis().temp_size_in_bytes / MIB),
        "process_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, remat = arguments.one
        print(json.dumps(take_steps(name, remat == "remat")))
        return
    rows = {}
    columns = f"{'init, trace':>14}{'compile':>14}{'step':>10}{'step holds':>14}{'process':>14}"
    print(f"{'step, batch ' + str(BATCH_SIZE):<34}{columns}")
    for name in MODELS:
        for remat in ("plain", "remat"):
            command = [sys.executable, str(Path(__file__)), "--one", name, remat]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = rows[f"{name}, {remat}"] = json.loads(done.stdout.splitlines()[-1])
            cells = (
                f"{row['initialise_and_trace_seconds']:>12.0f} s",
                f"{row['compile_seconds']:>12.0f} s",
                f"{row['step_seconds']:>8.1f} s",
                f"{row['step_mib']:>10,} MiB",
                f"{row['process_mib']:>10,} MiB",
            )
            print(f"{name + ', ' + remat:<34}{''.join(cells)}", flush=True)
    measure.save("very_deep", {"batch_size": BATCH_SIZE, "models": rows})


if __name__ == "__main__":
    main()
