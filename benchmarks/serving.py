"""Size of exported files, and time to their first answer in a process that serves nothing else.

    python benchmarks/serving.py

Exports networks with random weights as StableHLO and as ONNX (the extra `onnx`). Each start is a
process of its own, without a compile cache, and the two formats take turns. Measured are the seconds
from before the import of JAX or onnxruntime to the outputs of eight images. Takes three minutes on two
cores. Writes benchmarks/results/serving_*.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import numpy as np

from benchmarks import measure
from jaxcnn.data.spec import DataSpec
from jaxcnn.models import PUBLISHED_FOR, create_model
from jaxcnn.train.exporting import exported
from jaxcnn.train.onnx import exported_to_onnx

MODELS = ("lenet5", "resnet50")
_STABLEHLO = """
import jax, jax.export
with open(sys.argv[1], "rb") as file:
    program = jax.export.deserialize(bytearray(file.read()))
np.asarray(program.call(images))
"""
_ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
session.run(None, {"images": images})
"""
_START = """
import sys, time
start = time.perf_counter()
import numpy as np
images = np.zeros(tuple(map(int, sys.argv[2:])), np.float32)
"""
_END = "print(time.perf_counter() - start)"
SERVERS = {"stablehlo": _STABLEHLO, "onnx": _ONNX}


def files(name: str, folder: Path) -> dict[str, Path]:
    """The network in each format."""
    shape, classes = PUBLISHED_FOR[name]
    model, one = create_model(name, num_classes=classes), np.ones(shape[-1], np.float32)
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(
        np.zeros((1, *shape), np.float32)
    )
    spec = DataSpec(shape, tuple(map(str, range(classes))), 0 * one, one, "float32")
    content, difference = exported_to_onnx(model, variables, spec)
    print(f"{name}: onnx differs by {difference:.1e} of the largest logit")
    paths = {format: folder / f"{name}.{format}" for format in SERVERS}
    paths["onnx"].write_bytes(content)
    paths["stablehlo"].write_bytes(exported(model, variables, spec))
    return paths


def seconds_to_first_answer(format: str, path: Path, name: str) -> float:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    shape, _ = PUBLISHED_FOR[name]
    program = _START + SERVERS[format] + _END
    command = [sys.executable, "-c", program, path, *map(str, (8, *shape))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    rows = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            paths = files(name, Path(folder))
            seconds = {format: [] for format in SERVERS}
            for order in measure.in_turn(list(SERVERS), arguments.rounds):
                for format in order:
                    seconds[format].append(seconds_to_first_answer(format, paths[format], name))
            rows[name] = {
                format: {
                    "megabytes": round(paths[format].stat().st_size / 1e6, 2),
                    "seconds": measure.spread(seconds[format], 2),
                }
                for format in SERVERS
            }
        ratios = [a / b for a, b in zip(seconds["stablehlo"], seconds["onnx"], strict=True)]
        rows[name]["onnx_is_faster_by"] = measure.spread(ratios, 1)
        for format in SERVERS:
            row = rows[name][format]
            median, least, most = row["seconds"].values()
            print(
                f"{name:<12}{format:<12}{row['megabytes']:>8} MB{median:>8} s ({least} to {most})"
            )
        print(f"{name:<12}ratio of the seconds: {statistics.median(ratios):.1f}")
    packages = {name: version(name) for name in ("jax2onnx", "onnxruntime")}
    measure.save("serving", {"seconds_to_first_answer_of_8_images": rows, "onnx": packages})


if __name__ == "__main__":
    main()
