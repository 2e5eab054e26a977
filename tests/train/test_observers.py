"""Who watches a run: what observers are told, how they stop it, what their failure leaves."""

import errno
import gc
import json
import logging
import os
import signal
import sys
import time

import jax
import psutil
import pytest

from jaxcnn import register_observer
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from jaxcnn.train.observers import Observer
from jaxcnn.train.observers.files import MetricsFile
from jaxcnn.train.saved_run import load_state
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.conftest import DIGITS, QUICK
from tests.train.runs import assert_same_bits, final_state, without_time


class Recorder:
    """Any object with some of the methods will do."""

    def __init__(self):
        self.starts, self.lines, self.steps, self.results = [], [], [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_steps(self, step):
        self.steps.append(step)

    def on_log(self, line):
        self.lines.append(line)

    def on_validation(self, line):
        self.lines.append({key: value for key, value in line.items() if key != "best"})

    def on_end(self, result):
        self.results.append(result)


def test_an_observer_is_told_all(small_config, blobs, tmp_path):
    recorder = Recorder()
    result = train(small_config, tmp_path / "run", dataset=blobs, observers=[recorder])
    (start,) = recorder.starts
    assert (start.step, start.total_steps, start.spec) == (0, 40, blobs.spec)
    assert start.first_images().shape == (32, 12, 12, 1)
    assert recorder.steps == list(range(1, 41))
    assert without_time(recorder.lines) == without_time(Workdir(tmp_path / "run").read_metrics())
    assert recorder.results == [result]


class StopAt(Observer):
    def __init__(self, step):
        self.step = step

    def on_validation(self, line):
        return line["step"] == self.step


def test_an_observer_stops_a_run_which_can_go_on(small_config, blobs, tmp_path):
    train(small_config, tmp_path / "whole", dataset=blobs)
    run = tmp_path / "run"
    result = train(small_config, run, dataset=blobs, observers=[StopAt(20)])
    assert (result["status"], result["steps"], result["final"]) == ("stopped", 20, None)
    assert load_state(run).step == 20
    assert train(small_config, run, dataset=blobs)["status"] == "completed"
    assert_same_bits(final_state(tmp_path / "whole"), final_state(run))


class StopAtStart(Observer):
    def on_start(self, start):
        return start.step == 20


def test_an_observer_may_stop_a_run_before_its_first_step(small_config, blobs, tmp_path):
    run = tmp_path / "run"
    assert train(small_config, run, dataset=blobs, observers=[StopAt(20)])["steps"] == 20
    result = train(small_config, run, dataset=blobs, observers=[StopAtStart()])
    assert (result["status"], result["steps"]) == ("stopped", 20)
    assert len(Workdir(run).read_environments()) == 2
    assert train(small_config, run, dataset=blobs)["status"] == "completed"


class FailAt(Observer):
    def __init__(self, hook, step):
        self.step, self.closed = step, False
        setattr(self, hook, self.fail)

    def fail(self, told):
        if (told if isinstance(told, int) else told["step"]) == self.step:
            raise ZeroDivisionError("a bug of the observer's")

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("hook", "step"), [("on_steps", 17), ("on_log", 15), ("on_log", 20), ("on_validation", 20)]
)
def test_an_observer_that_fails_ends_the_run_with_its_state_saved(
    small_config, blobs, tmp_path, hook, step
):
    train(small_config, tmp_path / "whole", dataset=blobs)
    run, observer = tmp_path / "run", FailAt(hook, step)
    with pytest.raises(ZeroDivisionError, match="a bug of the observer's"):
        train(small_config, run, dataset=blobs, observers=[observer])
    assert observer.closed
    assert load_state(run).step == step
    train(small_config, run, dataset=blobs)
    assert_same_bits(final_state(tmp_path / "whole"), final_state(run))
    lines = [without_time(Workdir(path).read_metrics()) for path in (tmp_path / "whole", run)]
    validation = [[line for line in of if line["split"] == "validation"] for of in lines]
    assert validation[0] == validation[1]


@pytest.mark.parametrize("step", [5, 20])
def test_a_line_that_the_storage_refuses_is_written_when_the_run_goes_on(
    small_config, blobs, tmp_path, monkeypatch, step
):
    """The checkpoint of a step promises that the lines up to it are there."""
    train(small_config, tmp_path / "whole", dataset=blobs)
    whole = MetricsFile.on_log

    def refused(self, line):
        if line["step"] == step:
            raise OSError(errno.EIO, "Input/output error")
        whole(self, line)

    monkeypatch.setattr(MetricsFile, "on_log", refused)
    with pytest.raises(OSError, match="Input/output"):
        train(small_config, tmp_path / "run", dataset=blobs)
    monkeypatch.setattr(MetricsFile, "on_log", whole)
    train(small_config, tmp_path / "run", dataset=blobs)
    lines = [without_time(Workdir(tmp_path / name).read_metrics()) for name in ("whole", "run")]
    assert lines[0] == lines[1]


def test_the_command_says_that_an_observer_stopped_it(small_config, run_cli, tmp_path):
    @register_observer("stopper_of_this_test")
    class Stopper(StopAt):
        def __init__(self, step: int = 10):
            super().__init__(step)

    config = [f"--workdir={tmp_path / 'run'}", f"--config={DIGITS}", *QUICK]
    config += ["--config.eval.every=5 steps"]
    stopper = "--config.observers=[{'name': 'stopper_of_this_test', 'step': 10}]"
    code, out, _ = run_cli("train", *config, stopper)
    assert code == 0
    assert "stopped by an observer at step 10; the same command" in out
    assert Workdir(tmp_path / "run").read_result()["status"] == "stopped"
    code, out, _ = run_cli("train", *config, "--config.observers=[]")
    assert code == 0
    assert Workdir(tmp_path / "run").read_result()["status"] == "completed"


def test_a_user_s_observer_is_named_by_the_config(small_config, blobs, tmp_path):
    told = []

    @register_observer("teller_of_this_test")
    class Teller(Observer):
        """Tells the losses."""

        def __init__(self, prefix: str = "loss"):
            self.prefix = prefix

        def on_log(self, line):
            told.append((self.prefix, line["step"]))

    small_config.observers = [{"name": "teller_of_this_test", "prefix": "it is"}]
    train(small_config, tmp_path / "run", dataset=blobs)
    assert told[0] == ("it is", 5)
    small_config.observers = [{"name": "telex"}]
    with pytest.raises(UserError, match="config.observers.0.name: observer 'telex' does not exist"):
        resolve(small_config)


def test_tensorboard_has_scalars_settings_and_the_first_images(small_config, blobs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(small_config, tmp_path / "run", dataset=blobs)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    lines = Workdir(tmp_path / "run").read_metrics()
    assert losses == {
        line["step"]: pytest.approx(line["loss"]) for line in lines if line["split"] == "train"
    }
    (image,) = events.Images("train/first_images")
    assert (image.width, image.height) == (8 * 13, 4 * 13)  # 32 images of 12 pixels, and lines
    settings = events.SummaryMetadata("_hparams_/session_start_info")
    assert b"optimizer.learning_rate" in settings.plugin_data.content


def test_many_runs_in_one_process_leave_nothing_behind(small_config, blobs, tmp_path):
    """Twelve; `make many-runs` takes fifty."""
    small_config.train.duration = "6 steps"
    small_config.schedule.warmup = "0 steps"
    small_config.model = {"name": "linear"}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers, paths, process = list(logging.getLogger().handlers), list(sys.path), psutil.Process()
    sizes, threads, files, objects, arrays = [], [], [], [], []
    gc.collect()
    gc.freeze()  # the objects of other tests are not searched again after each run
    for number in range(12):
        small_config.seed = number
        train(small_config, tmp_path / str(number), dataset=blobs)
        gc.collect()
        sizes.append(process.memory_info().rss / 2**20)
        threads.append(process.num_threads())
        files.append(process.num_fds())
        objects.append(len(gc.get_objects()))
        arrays.append(len(jax.live_arrays()))
    gc.unfreeze()
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert list(logging.getLogger().handlers) == loggers
    assert sys.path == paths
    assert max(threads[6:]) <= max(threads[:6]) + 2
    # The first six fill the libraries' pools; the rest must not add to them.
    assert files[-1] <= files[5]
    assert arrays[-1] <= arrays[5]
    assert sizes[-1] - sizes[5] < 50, sizes
    # Per run, TensorStore leaks the lists and dictionaries that it makes of JSON (`spec().to_json()`,
    # `experimental_collect_matching_metrics()`), and JAX keeps a few entries of its caches.
    assert (objects[-1] - objects[5]) / 6 < 400, objects


def test_weights_and_biases_offline(small_config, blobs, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    small_config.observers = [{"name": "wandb", "project": "digits", "mode": "offline"}]
    train(small_config, tmp_path / "run", dataset=blobs)
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    # A process of wandb's own writes the file, and may still do so when the run has ended.
    deadline = time.monotonic() + 60
    while files[0].stat().st_size < 1000 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert files[0].stat().st_size > 1000
    small_config.observers[0]["mode"] = "on a good day"
    with pytest.raises(UserError, match="mode='on a good day'"):
        train(small_config, tmp_path / "other", dataset=blobs)
    assert not (tmp_path / "other").exists()


def test_mlflow_in_a_folder(small_config, blobs, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    small_config.observers = [{"name": "mlflow", "experiment": "digits"}]
    environment = dict(os.environ)
    result = train(small_config, tmp_path / "run", dataset=blobs)
    assert dict(os.environ) == environment
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = tracking.MlflowClient(tracking_uri=(tmp_path / "run" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("digits")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.05"
    history = client.get_metric_history(run.info.run_id, "validation/loss")
    lines = Workdir(tmp_path / "run").read_metrics()
    assert {metric.step: metric.value for metric in history} == {
        line["step"]: line["loss"] for line in lines if line["split"] == "validation"
    }
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
