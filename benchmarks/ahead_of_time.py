"""The training step compiled for TPUs that are not there, beside plain Flax's for the same network.

    python benchmarks/ahead_of_time.py [--models resnet18 resnet50] [--topology v5e:2x2]

Needs the compiler for TPUs, `pip install -e '.[tpu]'`, and no TPU. Nothing runs: FLOP, bytes and
memory are what XLA counts in the compiled programs, on each chip. Both train on float32 images in
bfloat16, with the same optimizer. Prints a table and writes benchmarks/results/ahead_of_time_*.json.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import time
from importlib.metadata import version

import jax
import numpy as np

from benchmarks import measure
from benchmarks.contestants import with_flax
from benchmarks.contestants.with_jaxcnn import FIELDS
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.diagnose.dry_run import dry_run
from jaxcnn.diagnose.programs import Needs
from jaxcnn.diagnose.tpus import Topology
from jaxcnn.layout import Layout, abstract
from jaxcnn.models import PUBLISHED_FOR

MODELS = ("resnet18", "resnet50", "densenet121", "vgg16", "wide_resnet28_10", "resnext50_32x4d")
DTYPE = "bfloat16"


def ours(model: str, batch_size: int, topology: Topology) -> Needs:
    """What the step of `jaxcnn train` needs."""
    shape, classes = PUBLISHED_FOR[model]
    config = default_config()
    config.model.update({"name": model, "dtype": DTYPE, **FIELDS.get(model, {})})
    config.train.update({"duration": "100000 steps", "global_batch_size": batch_size})
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *shape)).astype(np.uint8)
    labels = np.arange(batch_size, dtype=np.int32) % 10
    dataset = dataset_from_arrays((images, labels), None, 0.0, tuple(map(str, range(classes))))
    return dry_run(config, dataset, topology).needs


def flaxs(model: str, batch_size: int, topology: Topology) -> Needs:
    """What plain Flax's step needs."""
    shape, _ = PUBLISHED_FOR[model]
    layout = Layout.over(topology.devices())
    images = jax.ShapeDtypeStruct((batch_size, *shape), "float32", sharding=layout.batch)
    labels = jax.ShapeDtypeStruct((batch_size,), "int32", sharding=layout.batch)
    network = with_flax.MODELS[model](dtype=DTYPE)
    some = np.zeros((1, *shape), np.float32)
    state = jax.eval_shape(lambda: with_flax.first_state(network, some))
    step = jax.jit(with_flax.train_step, donate_argnums=0, out_shardings=(layout.replicated, None))
    lowered = step.lower(abstract(state, layout.replicated), images, labels)
    return Needs.of(lowered.compile())


def row(name: str, needs: Needs) -> str:
    traffic = ", ".join(
        f"{each.count} {kind} of {each.bytes / 1e6:.1f} MB"
        for kind, each in needs.collectives.items()
    )
    return (
        f"{name:<12}{needs.flop / 1e12:>8.3f}{needs.bytes_accessed / 1e9:>9.2f}"
        f"{needs.temporaries / 1e9:>9.2f}{needs.peak / 1e9:>9.2f}   {traffic}"
    )


def compare(model: str, batch_size: int, topology: Topology, contestants: list[str]) -> None:
    """Compiles the steps, prints their rows and writes them down beside those of other starts."""
    settings = {
        "model": model,
        "topology": topology.name,
        "batch_size": batch_size,
        "dtype": DTYPE,
        "libtpu": version("libtpu"),
    }
    name = f"ahead_of_time_{model}_{topology.name.replace(':', '_').replace('*', '_')}"
    kept = measure.RESULTS / f"{name}.json"
    former = json.loads(kept.read_text()) if kept.exists() else {}
    same = all(former.get(key) == value for key, value in settings.items())
    rows = former["per_chip"] if same else {}
    print(f"\n{model}, batch {batch_size} on {topology.name}, {DTYPE}: compiled, not run")
    print(f"{'':<12}{'TFLOP':>8}{'GB':>9}{'temp GB':>9}{'peak GB':>9}   collectives", flush=True)
    for contestant in contestants:
        start = time.perf_counter()
        needs = CONTESTANTS[contestant](model, batch_size, topology)
        print(row(contestant, needs), flush=True)
        seconds = round(time.perf_counter() - start)
        rows[contestant] = {**needs.to_json(), "seconds_to_compile": seconds}
        measure.save(name, {**settings, "per_chip": rows}, measured=False)
    if len(rows) == len(CONTESTANTS):
        for key in ("bytes_accessed", "temporaries"):
            print(f"{key}: {rows['jaxcnn'][key] / rows['flax'][key]:.3f}× plain Flax's")


CONTESTANTS = {"jaxcnn": ours, "flax": flaxs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=with_flax.MODELS)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument(
        "--contestants", nargs="+", default=[*CONTESTANTS], choices=CONTESTANTS,
        help="default: both; the results keep the other's row",
    )  # fmt: skip
    arguments = parser.parse_args()
    topology = Topology.of(arguments.topology)
    for model in arguments.models:
        compare(model, arguments.batch_size, topology, arguments.contestants)


if __name__ == "__main__":
    main()
