"""The trials of a study: their names, their stages, the best of them, and what may change."""

import json

import pytest

from jaxcnn.compare import Arm, Choice, Comparison, LogUniform
from jaxcnn.compare.study import Study
from jaxcnn.config import default_config
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast

RATE = "optimizer.learning_rate"


def comparison(**changes):
    config = default_config()
    config.data.source = "synthetic"
    settings = {
        "title": "Two optimizers",
        "base": config,
        "arms": {
            "sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-3, 1.0)}),
            "adam": Arm({"optimizer.name": "adam"}, {RATE: LogUniform(1e-5, 0.1)}),
        },
        "target": 0.9,
        "trials": 3,
        "seeds": 2,
    }
    return Comparison(**{**settings, **changes})


def end(study, trial, values, status="completed", steps=30):
    """Writes what a run leaves: an evaluation every ten steps, and its result."""
    workdir = study.workdir(trial)
    workdir.path.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "step": 10 * (i + 1),
            "epoch": i + 1,
            "split": "validation",
            "accuracy": value,
            "loss": 1.0,
        }
        for i, value in enumerate(values)
    ]
    workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    workdir.write_result({"status": status, "steps": steps, "images": 320, "seconds": 1.5})


def end_all(study, value=lambda trial: [0.5]):
    for trial in study.trials():
        if not study.outcome(trial):
            end(study, trial, value(trial))


def names(trials):
    return [trial.name for trial in trials]


def test_the_best_points_are_run_again_once_the_search_has_ended(tmp_path):
    study = Study(tmp_path / "study", comparison()).open()
    first = names(study.extend())
    assert first == [
        "sgd/default", "sgd/000", "sgd/001", "sgd/002",
        "adam/default", "adam/000", "adam/001", "adam/002",
    ]  # fmt: skip
    for trial in study.trials()[:-1]:
        end(study, trial, [0.4 + 0.1 * (trial.point or 0)])
    assert names(study.extend()) == first  # one is still running
    end(study, study.trials()[-1], [0.1])
    assert names(study.extend()) == [
        *first, "sgd/002-seed1000", "sgd/002-seed1001", "adam/001-seed1000", "adam/001-seed1001",
    ]  # fmt: skip
    best = study.trials()[-1]
    assert (best.kind, best.seed, best.settings) == ("best", 1001, study.trials()[6].settings)
    end_all(study)
    assert len(study.extend()) == 12


def test_every_worker_lists_the_same_trials(tmp_path):
    lists = []
    for order in (1, -1):
        study = Study(tmp_path / str(order), comparison()).open()
        study.extend()
        for trial in study.trials()[::order]:
            Study(study.path, comparison()).extend()
            end(study, trial, [0.3 if trial.point == 1 else 0.2])
        Study(study.path, comparison()).extend()
        lists.append((study.path / "trials.jsonl").read_text())
    assert lists[0] == lists[1]


def test_the_best_is_chosen_by_its_value_the_first_of_equals_and_never_one_that_diverged(tmp_path):
    study = Study(tmp_path / "study", comparison(trials=4)).open()
    values = {0: [0.2, 0.9, 0.1], 1: [0.5, 0.6, 0.7], 2: [0.9], 3: [0.99]}
    for trial in study.extend():
        status = "diverged" if trial.point == 3 else "completed"
        end(study, trial, values[trial.point or 0], status)
    assert study.best_point("sgd", study.trials()) == 0  # 0.9 at its second evaluation
    assert study.outcome(study.trials()[4]).value == float("-inf")


def test_by_steps_to_target_the_metric_breaks_ties(tmp_path):
    study = Study(tmp_path / "study", comparison(trials=4, select_by="steps_to_target")).open()
    values = {0: [0.8, 0.95, 0.96], 1: [0.9, 0.7, 0.7], 2: [0.92, 0.91, 0.9], 3: [0.89, 0.89]}
    for trial in study.extend():
        end(study, trial, values[trial.point or 0])
    reached = {t.point: study.outcome(t).steps_to_target for t in study.trials() if t.arm == "sgd"}
    assert reached == {None: 20, 0: 20, 1: 10, 2: 10, 3: float("inf")}
    assert study.best_point("sgd", study.trials()) == 2


def test_several_seeds_of_a_point_count_by_their_mean(tmp_path):
    study = Study(tmp_path / "study", comparison(trials=2, seeds_per_trial=2)).open()
    assert names(study.extend())[1:5] == [
        "sgd/000-seed0", "sgd/000-seed1", "sgd/001-seed0", "sgd/001-seed1",
    ]  # fmt: skip
    for trial in study.trials():
        end(study, trial, [{(0, 0): 0.9, (0, 1): 0.1}.get((trial.point, trial.seed), 0.6)])
    assert study.best_point("sgd", study.trials()) == 1
    assert study.cost([study.outcome(t) for t in study.points("sgd", study.trials())[0]]) == (
        -0.5,
        0.0,
    )


def test_an_arm_whose_points_all_diverged_has_no_best(tmp_path):
    study = Study(tmp_path / "study", comparison()).open()
    for trial in study.extend():
        end(study, trial, [0.5], "diverged" if trial.arm == "sgd" else "completed")
    assert {trial.arm for trial in study.extend() if trial.kind == "best"} == {"adam"}


def test_an_arm_without_a_space_is_run_as_it_comes(tmp_path):
    arms = {"plain": Arm({"optimizer.name": "sgd"})}
    study = Study(tmp_path / "study", comparison(arms=arms)).open()
    assert names(study.extend()) == ["plain/default"]
    end_all(study)
    assert names(study.extend())[1:] == ["plain/default-seed1000", "plain/default-seed1001"]


def test_a_study_grows(tmp_path):
    path = tmp_path / "study"
    study = Study(path, comparison()).open()
    for _ in range(2):
        study.extend()
        end_all(study, lambda trial: [0.5 - 0.1 * (trial.point or 0)])
    before = (path / "trials.jsonl").read_text()
    larger = Study(path, comparison(trials=5, seeds=3)).open()
    larger.extend()
    after = (path / "trials.jsonl").read_text()
    assert after.startswith(before)
    assert names(larger.trials())[12:] == ["sgd/003", "sgd/004", "adam/003", "adam/004"]
    end_all(larger, lambda trial: [0.9])
    assert names(larger.extend())[16:] == [
        f"{arm}/003-seed{seed}" for arm in ("sgd", "adam") for seed in (1000, 1001, 1002)
    ]
    with pytest.raises(UserError, match=r"trials=3: the study .* has 5; a study can only grow"):
        Study(path, comparison(seeds=3)).open()


def test_a_study_of_another_comparison(tmp_path):
    path = tmp_path / "study"
    Study(path, comparison()).open()
    other = comparison()
    other.base.train.duration = "3 epochs"
    with pytest.raises(UserError, match=r"a different comparison \(config.base.train.duration"):
        Study(path, other).open()
    with pytest.raises(UserError, match="sampler"):
        Study(path, comparison(sampler="sobol")).open()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UserError, match="holds files but no study"):
        Study(tmp_path / "photos", comparison()).open()


def test_a_grid_has_its_combinations(tmp_path):
    arms = {
        "sgd": Arm(
            {"optimizer.name": "sgd"}, {RATE: Choice((0.1, 0.2)), "data.resize": Choice((7,))}
        )
    }
    study = Study(tmp_path / "study", comparison(arms=arms, sampler="grid")).open()
    settings = [trial.settings for trial in study.extend()]
    assert settings == [{}, {RATE: 0.1, "data.resize": 7}, {RATE: 0.2, "data.resize": 7}]
    assert study.comparison.points("sgd") == 2


def test_tpe_proposes_a_generation_after_the_one_before(tmp_path):
    pytest.importorskip("optuna")
    lists = []
    for order in (1, -1):
        study = Study(tmp_path / str(order), comparison(sampler="tpe", trials=10)).open()
        while waiting := [t for t in study.extend() if not study.outcome(t)]:
            for trial in waiting[::order]:
                end(study, trial, [trial.settings.get(RATE, 0.0)])
        lists.append((study.path / "trials.jsonl").read_text())
        searched = [t.name for t in study.trials() if t.kind == "search"]
        assert searched[:5] == ["sgd/000", "sgd/001", "sgd/002", "sgd/003", "adam/000"]
        assert len(searched) == 20
    assert lists[0] == lists[1]


def test_checkpoints_of_losers_are_removed_and_their_metrics_stay(tmp_path):
    study = Study(tmp_path / "study", comparison()).open()
    for trial in study.extend():
        workdir = study.workdir(trial)
        workdir.best.mkdir(parents=True)
        workdir.latest.mkdir()
        end(study, trial, [0.5 + 0.1 * (trial.point or 0)])
        study.prune(trial, study.trials())
    left = {t.name: study.workdir(t) for t in study.trials() if t.arm == "sgd"}
    assert [n for n, w in left.items() if w.best.exists()] == ["sgd/default", "sgd/002"]
    assert not any(workdir.latest.exists() for workdir in left.values())
    assert all(workdir.metrics.exists() for workdir in left.values())
