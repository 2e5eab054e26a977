"""What the tests share: small data, small configs, the command line as a function."""

import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings

from jaxcnn.cli import main as cli
from jaxcnn.config import default_config
from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.plots.curves import draw_curves
from jaxcnn.train.experiment import REGISTRIES

ROOT = Path(__file__).parent.parent

# A config file that needs no data from outside, and what makes a run of any config a short one.
DIGITS = ROOT / "configs" / "digits_lenet.py"
QUICK = (
    "--config.model.name=linear",
    "--config.data.augment=[]",
    "--config.train.duration=20 steps",
    "--config.schedule.warmup=0 steps",
)

# A program that has set a level sees the log where it wants to: here, in pytest's `caplog`.
logging.getLogger("jaxcnn").setLevel(logging.INFO)

# A machine that is busy with something else fails no property.
settings.register_profile("jaxcnn", deadline=None)
settings.load_profile("jaxcnn")

# The same small programs are compiled again and again, here, in the workers of pytest-xdist, which this
# process starts, and in the processes that tests start. What else is cached is not the user's, either.
if "PYTEST_XDIST_WORKER" in os.environ:
    _cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
else:
    _directory = tempfile.TemporaryDirectory(prefix="jaxcnn-tests-")
    _cache = _directory.name
    os.environ["XDG_CACHE_HOME"] = str(Path(_cache, "user"))
for _name, _value in {
    "jax_compilation_cache_dir": _cache,
    "jax_persistent_cache_min_compile_time_secs": 0.1,
}.items():
    jax.config.update(_name, _value)
    os.environ[_name.upper()] = str(_value)


@pytest.fixture(autouse=True)
def registries_as_before(monkeypatch):
    """What a test registers is gone after it."""
    for registry in REGISTRIES.values():
        for name, table in vars(registry).items():
            if isinstance(table, dict):
                monkeypatch.setattr(registry, name, dict(table))


# To draw the curves of a run takes longer than such short runs do: a test that looks at them asks for them.
@pytest.fixture(scope="session", autouse=True)
def no_curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxcnn.train.observers.files.draw_curves", lambda *_, **__: None)
        yield


@pytest.fixture
def curves(monkeypatch):
    """Runs of this process draw their curves."""
    monkeypatch.setattr("jaxcnn.train.observers.files.draw_curves", draw_curves)


@pytest.fixture(scope="session")
def tfds_dir() -> str:
    """A prepared TFDS directory; the tests that need it skip where there is none."""
    directory = os.environ.get("TFDS_DATA_DIR", "")
    if not Path(directory, "fashion_mnist").is_dir():
        pytest.skip("needs Fashion-MNIST: set TFDS_DATA_DIR to a directory that holds it")
    return directory


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def blobs():
    """200 images of 12×12×1 in three classes that a linear model can tell apart, and 50 to test."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 250).astype(np.int32)
    images = rng.integers(0, 80, (250, 12, 12, 1)).astype(np.uint8)
    for label in range(3):
        images[labels == label, 4 * label : 4 * label + 4] += 120
    return dataset_from_arrays((images[:200], labels[:200]), (images[200:], labels[200:]))


@pytest.fixture
def small_config():
    """40 steps of a small CNN with batch normalisation, dropout, momentum and augmentation.

    Batches are made on the device, as tf.data takes longer to set up than these steps take; tests of
    what may depend on the placement ask for the host too.
    """
    config = default_config()
    config.data.placement = "device"
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2})
    config.data.augment = [{"name": "horizontal_flip"}, {"name": "pad_and_crop", "padding": 1}]
    config.optimizer.update({"name": "nesterov", "learning_rate": 0.05})
    config.schedule.warmup = "4 steps"
    config.train.update({"duration": "40 steps", "global_batch_size": 32})
    config.eval.every = "10 steps"
    config.log.every = "5 steps"
    config.checkpoint.every = "10 steps"
    return config


@pytest.fixture
def run_cli(capsys):
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        code = cli.main([str(argument) for argument in arguments])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def error_of(run_cli):
    """Runs a command that must fail as a user's mistake does; returns its one line."""

    def run(*arguments: object) -> str:
        code, _, err = run_cli(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("jaxcnn: error: ")]
        assert code == 1
        assert len(lines) == 1, err
        assert "Traceback" not in err
        return lines[0].removeprefix("jaxcnn: error: ")

    return run


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Runs a command twice, on a file system of its own that has more room the second time.

    Skips the test where nothing may be mounted.
    """

    def run(size: str, of: str, *arguments: object) -> tuple[list[str], str, str]:
        """Returns the error lines, the output from the first exit code on, and all of stderr.

        Args:
          size: of the file system, at first.
          of: the path on it to copy to `tmp_path` in the end.
          arguments: of jaxcnn; '{disk}' stands for the file system.
        """
        disk = tmp_path / "disk"
        disk.mkdir()
        words = [str(word).replace("{disk}", str(disk)) for word in arguments]
        command = shlex.join([sys.executable, "-m", "jaxcnn", *words])
        script = (
            f"mount -t tmpfs -o size={size} tmpfs {disk} || exit 99\n"
            f"{command}; echo first: $?\n"
            f"echo ended: $(find {disk} -name result.json | wc -l)\n"
            f"mount -o remount,size=100m {disk}\n"
            f"{command}; echo second: $?\n"
            f"cp -r {disk}/{of} {tmp_path}/\n"
        )
        answer = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT
        )
        if answer.returncode == 99 or "unshare" in answer.stderr:
            pytest.skip("needs the right to mount a file system of its own (user namespaces)")
        errors = [line for line in answer.stderr.splitlines() if line.startswith("jaxcnn: error")]
        return errors, answer.stdout.split("first: ")[1], answer.stderr

    return run


def start_python(*arguments: object, **environment: str) -> subprocess.Popen:
    """Starts Python in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_jaxcnn(*arguments: object, **environment: str) -> subprocess.Popen:
    """Starts a command in a process of its own."""
    return start_python("-m", "jaxcnn", *arguments, **environment)
