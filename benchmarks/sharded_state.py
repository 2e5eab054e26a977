"""Memory of a sharded state: what each device holds at rest, and at the peak of a step.

    python benchmarks/sharded_state.py

Compiles the training step of wide_resnet101_2 with Adam for eight virtual CPU devices, with
config.sharding='replicated' and 'fsdp'; these steps are not run. The losses are those of five steps in
float64 of the same network with an eighth of the channels. Takes some minutes on two idle cores.
Writes benchmarks/results/sharded_state_*.json.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import numpy as np

from benchmarks import measure

DEVICES, BATCH_SIZE, STEPS, SHAPE = 8, 16, 5, (64, 64, 3)
MODEL, NARROW = "wide_resnet101_2", {"width": 8}
MIB = 2**20


def setting(sharding: str, dtype: str, **fields):
    """Returns (layout, experiment, data specification, abstract state)."""
    from jaxcnn.config import default_config
    from jaxcnn.data.dataset import dataset_from_arrays
    from jaxcnn.layout import Layout
    from jaxcnn.train.experiment import Experiment, resolve
    from jaxcnn.train.state import abstract_state

    config = default_config()
    config.model.update({"name": MODEL, "dtype": dtype, "param_dtype": dtype, **fields})
    config.optimizer.update({"name": "adam", "learning_rate": 1e-3})
    config.train.update({"duration": "100 steps", "global_batch_size": BATCH_SIZE})
    images, labels = measure.random_batch(SHAPE, BATCH_SIZE)
    classes = tuple(map(str, range(1000)))
    spec = dataset_from_arrays((images, labels), None, 0.0, classes).spec
    layout = Layout.over_all_devices(sharding)
    experiment = Experiment.of(resolve(config), spec, layout)
    like = abstract_state(experiment.model, experiment.recipe, spec.image_shape, layout)
    return layout, experiment, spec, like


def jitted(experiment, like):
    """The step as an engine compiles it."""
    from jaxcnn.train.step import make_train_step

    shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
    step = make_train_step(experiment.model)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def held(tree) -> int:
    """Bytes of a tree on one device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def planned(sharding: str) -> dict[str, float]:
    """Memory per device in MiB: of the state at rest, and of the step at its peak as XLA plans it."""
    layout, experiment, _, like = setting(sharding, "float32")
    parts = {
        "image": ((BATCH_SIZE, *SHAPE), np.float32),
        "label": ((BATCH_SIZE,), np.int32),
        "mask": ((BATCH_SIZE,), bool),
    }
    batch = {
        key: jax.ShapeDtypeStruct(shape, dtype, sharding=layout.batch)
        for key, (shape, dtype) in parts.items()
    }
    program = jitted(experiment, like).lower(like, batch, experiment.recipe).compile()
    memory = program.memory_analysis()
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes
    peak = arguments - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    return {
        "parameters": sum(math.prod(p.shape) for p in jax.tree.leaves(like.params)),
        "params_mib": round(held(like.params) / MIB, 1),
        "optimizer_mib": round(held(like.opt_state) / MIB, 1),
        "temporary_mib": round(memory.temp_size_in_bytes / MIB, 1),
        "peak_mib": round(peak / MIB, 1),
    }


def losses(sharding: str) -> list[float]:
    """The losses of some steps in float64."""
    from jaxcnn.train.state import init_state

    layout, experiment, spec, like = setting(sharding, "float64", **NARROW)
    model, recipe = experiment.model, layout.replicate(experiment.recipe)
    state = init_state(model, recipe, spec.image_shape, 0, layout)
    images, labels = measure.random_batch(SHAPE, BATCH_SIZE)
    batch = {"image": images, "label": labels, "mask": np.ones(BATCH_SIZE, bool)}
    batch = layout.put_batch(batch)
    program = jitted(experiment, like).lower(state, batch, recipe).compile()
    found = []
    for _ in range(STEPS):
        state, metrics = program(state, batch, recipe)
        found.append(metrics.read()[0].values["loss"])
    return found


def in_a_process(what: str, sharding: str):
    """What a function of this file returns in a process that has the devices."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        "NPROC": str(4 * DEVICES),  # threads: docs/performance.md, "Virtual devices"
        "JAX_ENABLE_X64": str(int(what == "losses")),
    }
    command = [sys.executable, str(Path(__file__)), "--one", what, sharding]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, sharding = arguments.one
        print(json.dumps({"planned": planned, "losses": losses}[what](sharding)))
        return
    rows = {sharding: in_a_process("planned", sharding) for sharding in ("replicated", "fsdp")}
    print(f"{MODEL}, per device of {DEVICES}, MiB")
    print(f"{'':<14}" + "".join(f"{sharding:>14}" for sharding in rows) + f"{'ratio':>9}")
    for key in ("params_mib", "optimizer_mib", "temporary_mib", "peak_mib"):
        copies, part = (row[key] for row in rows.values())
        print(f"{key.removesuffix('_mib'):<14}{copies:>14,.1f}{part:>14,.1f}{part / copies:>9.3f}")
    curves = {sharding: in_a_process("losses", sharding) for sharding in rows}
    apart = np.max(np.abs(np.divide(curves["fsdp"], curves["replicated"]) - 1))
    print(f"losses of {STEPS} steps in float64, width {NARROW['width']}: apart by {apart:.1e}")
    result = {"model": MODEL, "devices": DEVICES, "batch_size": BATCH_SIZE, "image": SHAPE}
    measure.save("sharded_state", {**result, "memory": rows, "losses": curves, "apart": apart})


if __name__ == "__main__":
    main()
