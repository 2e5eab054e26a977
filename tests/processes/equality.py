"""The same run on any number of processes and devices: `make test-processes`."""

import json

import numpy as np
import pytest

from jaxcnn.train.workdir import Workdir
from tests.processes.job import Job

pytestmark = pytest.mark.timeout(3600)

LAYOUTS = [(1, 1), (1, 8), (2, 4), (4, 2)]  # processes × devices
SETTINGS = (
    "--config.model.name=resnet20_cifar",
    "--config.model.dropout_rate=0.1",
    "--config.data.resize=16",
    "--config.data.augment=[{'name': 'pad_and_crop', 'padding': 2}]",
    "--config.averaging.name=ema",
    "--config.train.duration=50 steps",
    "--config.train.global_batch_size=32",
    "--config.schedule.warmup=10 steps",
    "--config.log.every=1 step",
    "--config.eval.every=50 steps",
)
# By dtype: the config and the number of its test images. CPUs are slow in float64, which has the small set.
OF = {"float64": ("digits_lenet", 360), "float32": ("cifar10_resnet20", 10_000)}


@pytest.fixture(scope="module", params=OF)
def runs(request, tmp_path_factory, tfds_dir):
    """The workdirs of the same run over each layout, and its dtype."""
    folder, dtype = tmp_path_factory.mktemp(request.param), request.param
    for processes, devices in LAYOUTS:
        name = f"{processes}x{devices}"
        job = Job(
            processes, devices, folder / f"logs of {name}", f"--config={OF[dtype][0]}", *SETTINGS,
            f"--config.model.dtype={dtype}", f"--config.model.param_dtype={dtype}",
            f"--workdir={folder / name}", JAX_ENABLE_X64=str(int(dtype == "float64")),
            TFDS_DATA_DIR=tfds_dir,
        )  # fmt: skip
        assert set(job.wait(1200)) == {0}, job.output()
    return {layout: folder / f"{layout[0]}x{layout[1]}" for layout in LAYOUTS}, dtype


def losses(workdir):
    return np.array(
        [line["loss"] for line in Workdir(workdir).read_metrics() if line["split"] == "train"]
    )


def test_every_layout_gives_the_losses_of_one_device(runs):
    """In float64 to 1e-9; in float32 rounding grows from step to step, which is printed."""
    workdirs, dtype = runs
    one = losses(workdirs[1, 1])
    assert len(one) == 50
    for layout in LAYOUTS[1:]:
        difference = np.abs(losses(workdirs[layout]) / one - 1)
        at = ", ".join(f"{difference[:step].max():.1e}" for step in (1, 5, 10, 20, 50))
        print(f"\n{dtype}, {layout[0]}×{layout[1]}: within 1, 5, 10, 20, 50 steps: {at}")
        assert difference.max() < 1e-9 or dtype == "float32"
        assert difference[0] < 1e-5


def test_every_example_is_counted_and_every_line_written_once(runs):
    workdirs, dtype = runs
    for workdir in workdirs.values():
        result = json.loads((workdir / "result.json").read_text())
        assert result["final"]["test"]["count"] == OF[dtype][1]
        places = [(line["step"], line["split"]) for line in Workdir(workdir).read_metrics()]
        assert places == [
            *((step, "train") for step in range(1, 51)),
            (50, "validation"),
        ]
