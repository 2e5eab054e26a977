"""A worker in this process: what it trains, what the search may see, what is left of a trial."""

import json
from dataclasses import replace

import jax
import pytest

from jaxcnn.compare import Arm, Choice, Comparison, LogUniform
from jaxcnn.compare.estimate import estimate
from jaxcnn.compare.study import Study
from jaxcnn.compare.worker import Watch, Worker
from jaxcnn.config import default_config
from jaxcnn.data.dataset import load_dataset
from jaxcnn.errors import UserError
from jaxcnn.leases import Lease, LeaseLost, Leases
from jaxcnn.train.saved_run import load_run
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import without_time

RATE = "optimizer.learning_rate"


def small_comparison():
    """A small CNN with batch normalisation and dropout on noise; every rate of 'wild' diverges."""
    config = default_config()
    config.model.update({"name": "simple_cnn", "widths": (4, 8), "hidden": 16, "dropout_rate": 0.2})
    config.data.update({"source": "synthetic", "train_images": 200, "test_images": 50})
    config.data.update({"height": 12, "width": 12, "classes": 3, "placement": "device"})
    config.data.augment = [{"name": "horizontal_flip"}]
    config.schedule.warmup = "4 steps"
    config.train.update({"duration": "30 steps", "global_batch_size": 32})
    config.eval.every = config.checkpoint.every = "10 steps"
    arms = {
        "sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-3, 0.1)}),
        "wild": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e30, 1e38)}),
    }
    return Comparison("Small", config, arms, target=0.9, trials=3, seeds=2)


@pytest.fixture
def comparison():
    return small_comparison()


@pytest.fixture(scope="module", params=["sequential", "vmap", "map"])
def study(tmp_path_factory, request):
    made = replace(small_comparison(), way=request.param, pack=2)
    study = Study(tmp_path_factory.mktemp(request.param) / "study", made).open()
    Worker(study).work()
    return study


def test_a_study_from_its_first_trial_to_its_last(study):
    kinds = [(trial.arm, trial.kind) for trial in study.trials()]
    assert kinds.count(("sgd", "search")) == kinds.count(("wild", "search")) == 3
    # Trials that diverge are results: the arm has no best point, and the worker went on.
    assert kinds.count(("sgd", "best")) == 2
    assert ("wild", "best") not in kinds
    for trial in study.trials():
        outcome, workdir = study.outcome(trial), study.workdir(trial)
        diverged = trial.arm == "wild" and trial.kind == "search"
        assert outcome.status == ("diverged" if diverged else "completed")
        assert json.loads((workdir.path / "timing.json").read_text())["evaluation"] >= 0
        splits = set() if diverged else set(outcome.result["best"])
        held_out = {"validation", "test"} if trial.kind == "best" else {"validation"}
        assert splits == (set() if diverged else {"step", *held_out})
    with_weights = [t.kind for t in study.trials() if study.workdir(t).best.exists()]
    assert with_weights.count("search") == 1
    best = next(trial for trial in study.trials() if trial.kind == "best")
    assert load_run(study.workdir(best).path).config.seed == 1000


def test_the_steps_of_each_arm_are_timed_once(study, monkeypatch):
    seconds = json.loads(study.step_seconds.read_text())
    assert seconds.keys() == {"sgd", "wild"}
    assert all(0 < value < 10 for value in seconds.values())
    monkeypatch.setattr("jaxcnn.compare.worker.step_seconds", lambda study: pytest.fail("again"))
    Worker(study).work()


def test_a_trial_is_the_run_of_its_config(study, comparison, tmp_path):
    """The program that trials share, and the data they share, change no bit; a pack only rounds."""
    trial = next(trial for trial in study.trials() if trial.name == "sgd/002")
    config = comparison.config("sgd", trial.settings, trial.seed)
    dataset = load_dataset(config.data.to_dict()).without("test")
    jax.clear_caches()
    train(config, tmp_path / "alone", dataset=dataset)
    alone = without_time(Workdir(tmp_path / "alone").read_metrics())
    mine = without_time(study.workdir(trial).read_metrics())
    if study.comparison.way == "sequential":
        assert mine == alone
    else:
        assert [line["loss"] for line in mine] == pytest.approx(
            [line["loss"] for line in alone], rel=1e-3
        )


def test_data_without_a_validation_split(comparison, tmp_path):
    comparison.base.data.validation_fraction = 0.0
    study = Study(tmp_path / "study", comparison).open()
    with pytest.raises(UserError, match="trial sgd/default: .*validation_fraction=0"):
        Worker(study).work()


def test_a_trial_that_cannot_be_trained_is_named(comparison, tmp_path):
    comparison.base.train.global_batch_size = 500
    study = Study(tmp_path / "study", comparison).open()
    with pytest.raises(UserError, match="trial sgd/default: config.train.global_batch_size=500"):
        Worker(study).work()


def test_a_worker_whose_lease_was_taken_over_saves_nothing_more(comparison, tmp_path, monkeypatch):
    """It stood still for longer than a lease lasts, and finds another worker's when it goes on."""
    study = Study(tmp_path / "study", comparison).open()
    trial = study.extend()[0]
    directory = study.workdir(trial)
    lease = Leases().take(directory.path)
    watch = Watch(lease, directory)
    for step in range(3):
        watch.on_steps(step)
    (directory.path / "lease-000002").touch()
    lease._confirmed -= 60
    with pytest.raises(LeaseLost):
        watch.on_steps(3)
    taken = []
    original = Lease.check

    def check(lease):
        original(lease)
        if len(taken) == 0 and (directory.path / "metrics.jsonl").exists():
            taken.append((directory.path / "lease-000004").touch())
            lease._confirmed -= 60

    monkeypatch.setattr(Lease, "check", check)
    (directory.path / "lease-000002").write_text('{"released": true}')
    worker = Worker(study)
    assert worker._take_one([[trial]], study.trials())
    assert directory.read_result() is None
    assert directory.read_metrics() == []


def test_the_estimate_counts_every_trial(comparison, tmp_path):
    found = estimate(Study(tmp_path / "study", comparison))
    assert found.trials == 2 * (1 + 3 + 2)
    assert 0 < found.step_seconds["sgd"] == found.step_seconds["wild"]
    assert found.seconds > 12 * 30 * found.step_seconds["sgd"]


def test_packs_hold_what_one_program_can(comparison, tmp_path):
    """Numbers may differ in a program, structure may not; the grouping is that of the list."""
    arms = {
        "sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-4, 1e-3, points=3)}),
        "width": Arm({}, {"model.hidden": Choice((8, 16))}),
    }
    comparison = replace(comparison, arms=arms, way="vmap", pack=2, sampler="grid")
    study = Study(tmp_path / "study", comparison).open()
    packs = Worker(study)._packs(study.extend())
    assert [[trial.name for trial in pack] for pack in packs] == [
        ["sgd/default"], ["sgd/000", "sgd/001"], ["sgd/002"],
        ["width/default"], ["width/000"], ["width/001"],
    ]  # fmt: skip
