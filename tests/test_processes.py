"""Real processes: killed, stopped, on eight devices, without TensorFlow, on a full disk."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxcnn.train.saved_run import load_state
from jaxcnn.train.workdir import Workdir
from tests.conftest import ROOT, start_jaxcnn, start_python

DIGITS = f"--config={ROOT / 'configs' / 'digits_lenet.py'}"
# Batch normalisation, dropout, momentum, augmentation, an average and a plateau's countdown are all on; a
# line and a checkpoint often.
EVERYTHING_ON = (
    "--config.model.name=simple_cnn",
    "--config.model.widths=(4, 8)",
    "--config.model.dropout_rate=0.3",
    "--config.data.resize=0",
    "--config.data.augment=[{'name': 'horizontal_flip'}, {'name': 'pad_and_crop', 'padding': 1}]",
    "--config.averaging.name=ema",
    "--config.schedule.name=reduce_on_plateau",
    "--config.schedule.patience=1",
    "--config.schedule.threshold=0.3",
    "--config.train.duration=150 steps",
    "--config.log.every=3 steps",
    "--config.eval.every=20 steps",
    "--config.checkpoint.every=7 steps",
)


def final_bits(workdir):
    state = load_state(workdir)
    assert state.step == 150
    return jax.tree.map(
        lambda leaf: np.asarray(
            jax.random.key_data(leaf) if leaf.dtype == jax.random.key(0).dtype else leaf
        ),
        state,
    )


def wait_for_step(process, workdir, step, seconds=120):
    """Until the run has logged `step`, or ended."""
    metrics = Workdir(workdir).metrics
    for _ in range(seconds * 100):
        if process.poll() is not None:
            return
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no step {step} in {seconds} s: {process.stdout.read()}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    process = start_jaxcnn("train", DIGITS, f"--workdir={workdir}", *EVERYTHING_ON)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return workdir


def assert_ends_as(undisturbed, workdir):
    jax.tree.map(np.testing.assert_array_equal, final_bits(undisturbed), final_bits(workdir))
    before, after = (Workdir(directory).read_result() for directory in (undisturbed, workdir))
    assert before["best"] == after["best"]
    assert before["final"] == after["final"]
    lines = [Workdir(directory).read_metrics() for directory in (undisturbed, workdir)]
    for line in (*lines[0], *lines[1]):
        line.pop("examples_per_second", None)
    assert lines[0] == lines[1]


def test_killed_at_random_steps_it_ends_with_the_same_bits(undisturbed, tmp_path):
    seed = random.randrange(10**6)
    kills = sorted(random.Random(seed).sample(range(3, 150, 3), 3))
    for step in kills:
        process = start_jaxcnn("train", DIGITS, f"--workdir={tmp_path}", *EVERYTHING_ON)
        wait_for_step(process, tmp_path, step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start_jaxcnn("train", DIGITS, f"--workdir={tmp_path}", *EVERYTHING_ON)
    output, _ = process.communicate()
    assert process.returncode == 0, f"seed {seed}: {output}"
    assert "resuming" in output
    assert_ends_as(undisturbed, tmp_path)


def test_sigterm_saves_says_so_and_exits_75(undisturbed, tmp_path):
    process = start_jaxcnn("train", DIGITS, f"--workdir={tmp_path}", *EVERYTHING_ON)
    wait_for_step(process, tmp_path, 30)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    result = Workdir(tmp_path).read_result()
    assert result["status"] == "preempted"
    said = f"stopped by a signal; saved at step {result['steps']}; the same command resumes the run"
    assert said in output
    process = start_jaxcnn("train", DIGITS, f"--workdir={tmp_path}", *EVERYTHING_ON)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert f"resuming {tmp_path} at step {result['steps']}" in output
    jax.tree.map(np.testing.assert_array_equal, final_bits(undisturbed), final_bits(tmp_path))


# What is compared on one device and on eight, and how far the losses may differ.
SMALL_RESNET = (
    "--config.model.name=resnet20_cifar", "--config.model.stage_sizes=(1, 1)", "--config.model.width=4",
)  # fmt: skip
SIMPLE_CNN = (
    "--config.model.name=simple_cnn",
    "--config.model.widths=(4, 8)",
    "--config.model.hidden=16",
)
ON_DEVICES = [
    (SMALL_RESNET, "relu", "float64", 1e-9),
    # In float32 its ReLUs, at their kinks, turn rounding into chaos within a few steps, on one
    # device as on eight: a smooth activation shows that the devices compute the same.
    (SMALL_RESNET, "silu", "float32", 1e-4),
    (SIMPLE_CNN, "relu", "float32", 1e-4),
]
# One process for all runs on a number of devices: to start takes longer than to train.
IN_TURN = """
import json, sys
import jax
from jaxcnn.cli.main import main

for arguments in json.loads(sys.argv[1]):
    jax.config.update("jax_enable_x64", "--config.model.dtype=float64" in arguments)
    assert main(["train", *arguments]) == 0
"""


def test_eight_devices_give_the_losses_of_one(tmp_path):
    """20 steps, batch normalisation included; the losses of every step."""

    def start(devices):
        runs = [
            [
                DIGITS, f"--workdir={tmp_path / str(devices) / str(number)}",
                *model, f"--config.model.activation={activation}",
                f"--config.model.dtype={dtype}", f"--config.model.param_dtype={dtype}",
                "--config.data.resize=16", "--config.train.duration=20 steps",
                "--config.schedule.warmup=5 steps", "--config.log.every=1 step",
                "--config.optimizer.learning_rate=0.02",
            ]
            for number, (model, activation, dtype, _) in enumerate(ON_DEVICES)
        ]  # fmt: skip
        return start_python(
            "-c", IN_TURN, json.dumps(runs),
            XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
            NPROC=str(4 * devices),  # threads: docs/performance.md, "Virtual devices"
        )  # fmt: skip

    processes = {devices: start(devices) for devices in (1, 8)}
    for devices, process in processes.items():
        output, _ = process.communicate()
        assert process.returncode == 0, output
        assert output.count(f"{devices} cpu device(s)") == len(ON_DEVICES)
    for number, (*case, tolerance) in enumerate(ON_DEVICES):
        one, eight = (Workdir(tmp_path / devices / str(number)) for devices in "18")
        losses = [
            [line["loss"] for line in of.read_metrics() if line["split"] == "train"]
            for of in (one, eight)
        ]
        assert len(losses[0]) == 20
        np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance, err_msg=str(case))
        results = [of.read_result() for of in (one, eight)]
        assert results[0]["final"]["test"]["count"] == results[1]["final"]["test"]["count"] == 360


SIGNAL_IN_A_DESTRUCTOR = """
import os, signal
import configs.digits_lenet

class Library:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})

def get_config():
    Library()  # an exception of the signal's handler would be swallowed here, and the run go on
    return configs.digits_lenet.get_config()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_before_the_loop_exits_75_whatever_it_interrupts(tmp_path, name):
    config = tmp_path / "config.py"
    config.write_text(SIGNAL_IN_A_DESTRUCTOR.format(name=name))
    process = start_jaxcnn("train", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert output == (
        f"{tmp_path / 'run'}: starting\n"
        "stopped by a signal outside the training loop; the same command resumes the run\n"
    )


def test_a_batch_that_cannot_be_divided_among_the_devices(tmp_path):
    process = start_jaxcnn(
        "train", DIGITS, f"--workdir={tmp_path / 'run'}", "--config.train.global_batch_size=100",
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
    )  # fmt: skip
    output, _ = process.communicate()
    assert process.returncode == 1
    assert (
        "config.train.global_batch_size=100 cannot be divided among 8 devices; valid: 96 or 104"
        in output
    )
    assert not (tmp_path / "run").exists()


def test_arrays_in_memory_train_without_tensorflow(undisturbed, tmp_path):
    """With every import of it blocked, the run is the same, to the bit; and one on the device runs."""
    run, on_device = tmp_path / "run", tmp_path / "device"
    runs = [[f"--workdir={run}"], [f"--workdir={on_device}", "--config.data.placement=device"]]
    blocker = (
        "import importlib.util, sys\n"
        "find_spec = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: (\n"
        "    None if name.split('.')[0] == 'tensorflow' else find_spec(name, *a))\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tensorflow', 'tensorflow_datasets'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from jaxcnn.cli.main import main\n"
        f"for arguments in {runs!r}:\n"
        f"    code = main(['train', {DIGITS!r}, *{EVERYTHING_ON!r}, *arguments])\n"
        "assert 'tensorflow' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", blocker], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    jax.tree.map(np.testing.assert_array_equal, final_bits(undisturbed), final_bits(run))
    assert list((run / "tensorboard").iterdir())
    assert json.loads((on_device / "result.json").read_text())["status"] == "completed"


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, on_a_small_disk):
    """Its 400 KiB hold no two checkpoints."""
    errors, said, stderr = on_a_small_disk(
        "400k", "run/result.json", "train", DIGITS, "--workdir={disk}/run", *EVERYTHING_ON
    )
    assert said.startswith("1\n"), stderr
    assert len(errors) == 1, stderr
    assert re.fullmatch(
        r"jaxcnn: error: a checkpoint in \S+/run/checkpoints/(latest|best) cannot be written: No space "
        "left on device; free some space; those before it are whole, and the same command resumes from "
        "the newest",
        errors[0],
    )
    assert "Traceback" not in stderr
    assert "second: 0" in said, stderr
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "completed"
