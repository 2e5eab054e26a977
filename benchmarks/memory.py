"""Memory of the training step, with and without rematerialisation, and with freed memory kept.

    python benchmarks/memory.py

The first table is what the compiled step allocates for itself, as planned by XLA. The second is the
peak memory of the process after ten steps, with the C library's defaults and with jaxcnn's setup.
Writes benchmarks/results/memory_*.json.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import measure

BATCH_SIZE = 128
SHAPE = (32, 32, 3)
MIB = 2**20
DEPTHS = {"resnet20_cifar": 3, "resnet110_cifar": 18}


def planned(blocks: int, remat: bool) -> float:
    """Temporary memory in MiB of the compiled step of a network with 6·blocks + 2 layers."""
    from benchmarks.contestants import with_jaxcnn

    step, *_ = with_jaxcnn.compiled_step(
        "resnet20_cifar",
        *measure.random_batch(SHAPE, BATCH_SIZE),
        "float32",
        stage_sizes=(blocks,) * 3,
        remat=remat,
    )
    return step.memory_analysis().temp_size_in_bytes / MIB


def held(keep: bool) -> float:
    """Peak memory in MiB of a process that takes ten steps."""
    command = [sys.executable, str(Path(__file__)), f"--held={'kept' if keep else 'returned'}"]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def take_steps(keep: bool) -> None:
    """Takes the steps and prints the peak memory of this process."""
    import jax

    from benchmarks.contestants import with_jaxcnn
    from jaxcnn import runtime

    if keep:
        runtime.prepare()
    step, state, on_device, recipe = with_jaxcnn.compiled_step(
        "resnet20_cifar", *measure.random_batch(SHAPE, BATCH_SIZE), "float32"
    )
    for _ in range(10):
        state, _ = step(state, on_device, recipe)
        jax.block_until_ready(state)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--held", choices=("kept", "returned"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.held:
        take_steps(arguments.held == "kept")
        return

    plans = {
        name: {"plain": round(planned(n, False)), "remat": round(planned(n, True))}
        for name, n in DEPTHS.items()
    }
    processes = {"returned": round(held(keep=False)), "kept": round(held(keep=True))}
    print(f"{'step, batch ' + str(BATCH_SIZE):<30}{'plain':>12}{'remat':>12}")
    for name, row in plans.items():
        print(f"{name:<30}{row['plain']:>8,} MiB{row['remat']:>8,} MiB")
    print(f"\n{'process, resnet20_cifar':<30}{'at most':>12}")
    for name, value in processes.items():
        print(f"{'freed memory ' + name:<30}{value:>8,} MiB")
    measure.save("memory", {"step_mib": plans, "process_mib": processes})


if __name__ == "__main__":
    main()
