"""Successive halving: who goes on, what it costs, and that stopping and resuming changes nothing."""

import json
from dataclasses import replace

import pytest

from jaxcnn.compare import Arm, Choice, Comparison, LogUniform
from jaxcnn.compare.estimate import estimate
from jaxcnn.compare.findings import findings_of
from jaxcnn.compare.halving import cost, record_rung, rungs_of, shares, steps_of_rungs
from jaxcnn.compare.loading import check_comparison
from jaxcnn.compare.report import study_page
from jaxcnn.compare.study import Study
from jaxcnn.compare.worker import Worker
from jaxcnn.config import default_config
from jaxcnn.errors import UserError
from tests.train.runs import without_time

RATE = "optimizer.learning_rate"


@pytest.mark.fast
def test_rungs_and_what_they_cost():
    assert shares(16, 4) == [1 / 16, 1 / 4, 1]
    assert shares(15, 4) == [1 / 4, 1]
    assert shares(9, 3) == [1 / 9, 1 / 3, 1]
    assert shares(1, 2) == [1]
    assert cost(16, 4) == 16 / 16 + 4 * 3 / 16 + 1 * 3 / 4
    assert cost(1, 2) == 1


def comparison_of(halving, trials=4, **changes):
    """A linear model on noise around a colour; a schedule that spans the whole run."""
    config = default_config()
    config.model.name, config.schedule.name = "linear", "cosine"
    config.data.update({"source": "synthetic", "train_images": 200, "test_images": 50})
    config.data.update({"height": 8, "width": 8, "classes": 3, "placement": "device"})
    config.train.update({"duration": "40 steps", "global_batch_size": 20})
    config.eval.every = config.checkpoint.every = config.log.every = "5 steps"
    arms = {
        "sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-5, 0.1)}),
        "wild": Arm(
            {"optimizer.name": "sgd", "loss.l2_regularization": 1.0},
            {RATE: Choice([1e-3, 1e36, 1e37, 1e38])},
        ),
    }
    given = {"metric": "loss", "target": 0.9, "trials": trials, "seeds": 1, "halving": halving}
    return Comparison("Small", config, arms, **{**given, **changes})


class Killed(BaseException):
    """As SIGKILL: no handler of exceptions stops it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("whole") / "study", comparison_of(0)).open()
    Worker(study).work()
    return study


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("halved") / "study", comparison_of(2)).open()
    Worker(study).work()
    return study


def search(study, arm):
    return [t for t in study.trials() if t.arm == arm and t.kind == "search"]


def test_the_best_at_each_rung_go_on_and_compute_what_a_whole_run_computes(whole, halved):
    of_whole = {trial.name: trial for trial in whole.trials()}
    losses = {  # at the rungs, which are after a quarter and a half of 40 steps
        rung: {
            trial.name: min(
                line["loss"]
                for line in whole.workdir(trial).read_metrics()
                if line["split"] == "validation" and line["step"] <= step
            )
            for trial in search(whole, "sgd")
        }
        for rung, step in enumerate((10, 20))
    }
    second = sorted(losses[0], key=losses[0].get)[:2]
    winner = min(second, key=losses[1].get)
    for trial in search(halved, "sgd"):
        expected = 40 if trial.name == winner else 20 if trial.name in second else 10
        outcome, workdir = halved.outcome(trial), halved.workdir(trial)
        assert (outcome.steps, outcome.images) == (expected, 20 * expected)
        assert outcome.status == ("completed" if trial.name == winner else "stopped")
        assert steps_of_rungs(workdir) == [step for step in (10, 20) if step <= expected]
        known = without_time(whole.workdir(of_whole[trial.name]).read_metrics())
        assert without_time(workdir.read_metrics()) == [
            line for line in known if line["step"] <= expected
        ]
        assert workdir.best.exists() == (trial.name == winner)
    best = next(trial for trial in halved.trials() if trial.kind == "best")
    assert f"{best.arm}/{best.point:03}" == winner


def test_points_that_diverge_do_not_go_on(halved):
    statuses = [halved.outcome(trial).status for trial in search(halved, "wild")]
    assert sorted(statuses) == ["completed", "diverged", "diverged", "diverged"]


def test_a_worker_may_be_killed_at_any_moment_between_a_rung_and_its_result(
    halved, tmp_path, monkeypatch
):
    study = Study(tmp_path / "study", comparison_of(2)).open()
    kills = iter([
        ("jaxcnn.compare.worker.record_rung", 2),
        ("jaxcnn.train.keeping.Keeper.save_latest", 4),
        ("jaxcnn.train.workdir.Workdir.write_result", 2),
        ("jaxcnn.compare.study.Study.eliminate", 1),
    ])  # fmt: skip
    for name, count in kills:
        with monkeypatch.context() as patch:
            original = _resolve(name)
            calls = []

            def killing(*arguments, original=original, calls=calls, count=count, **settings):
                calls.append(1)
                if len(calls) == count:
                    raise Killed
                return original(*arguments, **settings)

            patch.setattr(name, killing)
            with pytest.raises(Killed):
                Worker(study).work()
        for lease in study.path.rglob("lease-*"):
            lease.unlink()
    Worker(study).work()
    for trial in halved.trials():
        mine, other = study.workdir(trial), halved.workdir(trial)
        assert without_time(mine.read_metrics()) == without_time(other.read_metrics())
        results = [{**of.read_result(), "seconds": 0} for of in (mine, other)]
        assert results[0] == results[1]
    assert study.trials() == halved.trials()


def _resolve(name):
    from importlib import import_module

    module, attribute = name.rsplit(".", 1)
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError:
        return getattr(_resolve(module), attribute)


def test_a_rung_without_its_result_is_not_reached(tmp_path):
    study = Study(tmp_path / "study", comparison_of(2)).open()
    study.extend()
    for trial in search(study, "sgd"):
        study.workdir(trial).path.mkdir(parents=True)
        record_rung(study.workdir(trial), 0, 10)
    assert rungs_of(study, study.trials())["sgd"].rung == 0


def test_the_report_says_so(halved):
    page = study_page(findings_of(halved))
    assert "Each arm had 4 points of its space (halton, successive halving by 2)" in page
    assert "The best of the points so far" in page
    assert "stopped" not in [
        found.status for found in findings_of(halved).arms["sgd"].retrained.values()
    ]


def test_the_estimate_counts_what_is_left_out(whole, halved):
    assert estimate(halved).trials == estimate(whole).trials
    # Of 4 whole runs in the search there are two; the untuned arm and the best point stay.
    ratio = estimate(halved).seconds / estimate(whole).seconds
    assert ratio == pytest.approx((1 + cost(4, 2) + 1) / (1 + 4 + 1), rel=0.5)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halving": 1}, "halving=1 must be a whole number, 2 or more, or 0 for none"),
        ({"halving": 2.5}, "halving=2.5 must be a whole number"),
        ({"way": "vmap"}, "halving=2 does not work with way='vmap'; valid: sequential"),
        ({"sampler": "tpe"}, "halving=2 does not work with sampler='tpe'; valid: halton, sobol"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_comparison(replace(comparison_of(2), **changes))


@pytest.mark.fast
def test_a_study_by_halving_takes_no_more_points(tmp_path):
    Study(tmp_path / "study", comparison_of(2)).open()
    with pytest.raises(UserError, match="trials=8: the rungs of the study in .* are for 4 points"):
        Study(tmp_path / "study", comparison_of(2, trials=8)).open()
    described = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert Study.read(tmp_path / "study").comparison.halving == described["halving"] == 2
