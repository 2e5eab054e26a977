"""What a report says of studies whose numbers are known, and the pages that it makes."""

import csv
import html
import json
import math
import re

import numpy as np
import pytest

from jaxcnn.compare import Arm, LogUniform
from jaxcnn.compare.findings import findings_of
from jaxcnn.compare.report import answer, effort, study_page, trials_table
from jaxcnn.compare.side_by_side import report
from jaxcnn.compare.study import Study
from jaxcnn.errors import UserError
from tests.compare.test_study import RATE, comparison, end

pytestmark = pytest.mark.fast

IMAGES = 200


def finish(study, trial, values, status="completed", test=0.5):
    """Ends a trial: an evaluation every ten steps, and what it took."""
    end(study, trial, values, status, steps=10 * len(values))
    workdir = study.workdir(trial)
    lines = [{**line, "count": IMAGES} for line in workdir.read_metrics()]
    workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = workdir.read_result()
    best = {"step": 10, "validation": {"accuracy": max(values), "count": IMAGES}}
    if trial.kind == "best" and status == "completed":
        best["test"] = {"accuracy": test, "count": IMAGES}
    workdir.write_result({**result, "best": best})
    timing = {"seconds": 10.0, "evaluation": 1.0}
    (workdir.path / "timing.json").write_text(json.dumps(timing))


def curve(trial, level):
    """Rises to a level, with a little noise of the seed that all arms share."""
    noise = np.random.default_rng(trial.seed).uniform(-0.01, 0.01)
    return [round(level * share + noise, 4) for share in (0.5, 0.8, 0.95, 1.0)]


@pytest.fixture
def study(tmp_path):
    """sgd is at 0.80, adam at 0.90 and adagrad's search diverges but for its last point."""
    arms = {
        name: Arm({"optimizer.name": name}, {RATE: LogUniform(1e-4, 1.0)})
        for name in ("sgd", "adam", "adagrad")
    }
    made = comparison(arms=arms, trials=4, seeds=5, target=0.83)
    study = Study(tmp_path / "study", made).open()
    levels = {"sgd": 0.80, "adam": 0.90, "adagrad": 0.84}
    for _ in range(2):
        for trial in study.extend():
            if not study.outcome(trial):
                wild = trial.arm == "adagrad" and trial.kind == "search" and trial.point < 3
                status = "diverged" if wild else "completed"
                test = levels[trial.arm] - 0.01
                finish(study, trial, curve(trial, levels[trial.arm]), status, test)
    return study


def test_time_to_target_is_steps_times_a_step_that_was_timed_by_itself(study):
    assert "time to 0.83" in study_page(findings_of(study))
    arm = findings_of(study).arms["adam"]
    assert arm.step_seconds is None
    study.step_seconds.parent.mkdir()
    study.step_seconds.write_text(json.dumps({"sgd": 0.01, "adam": 0.5, "adagrad": 0.02}))
    arm = findings_of(study).arms["adam"]
    assert arm.mean_to_target == 30  # 0.95 · 0.9 is above 0.83
    assert '<td data-sort="15.0">15 s</td>' in study_page(findings_of(study))


def test_a_loss_of_zero_is_drawn_at_the_edge_of_a_logarithmic_axis(tmp_path):
    arms = {"sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-4, 1.0)})}
    made = comparison(arms=arms, trials=2, seeds=2, target=0.1, metric="loss")
    study = Study(tmp_path / "study", made).open()
    for level in (0.0, 0.5, 0.0, 0.0, 0.0):
        trial = next(trial for trial in study.extend() if not study.outcome(trial))
        finish(study, trial, [1.0, level])
        workdir = study.workdir(trial)
        lines = [{**line, "loss": line["accuracy"]} for line in workdir.read_metrics()]
        workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = study_page(findings_of(study))
    assert "nan" not in page.split("</style>")[1].split("<script>")[0].lower()
    assert page.count("<circle") > 2


def test_findings(study):
    found = findings_of(study)
    assert (found.ended, found.listed, found.steps) == (30, 30, 40)
    assert found.resolution == 1 / IMAGES
    assert found.verdict.winner == "adam"
    adam, adagrad = found.arms["adam"], found.arms["adagrad"]
    expected = [
        study.outcome(t).value for t in study.trials() if t.arm == "adam" and t.kind == "best"
    ]
    assert adam.validation.mean == pytest.approx(np.mean(expected))
    assert adam.test.mean == pytest.approx(0.89)
    assert adam.default.value == pytest.approx(
        0.9 + np.random.default_rng(0).uniform(-0.01, 0.01), abs=1e-4
    )
    assert adam.images == 4 * 320
    assert adam.seconds == pytest.approx(6.0)
    assert adam.evaluation == pytest.approx(0.1)
    assert adagrad.diverged == 3
    assert adagrad.best == study.trials()[14].settings
    assert list(adagrad.retrained) == [1000, 1001, 1002, 1003, 1004]
    assert all(math.isinf(steps) for steps in found.arms["sgd"].to_target)
    assert set(adam.to_target) <= {30, 40}


def test_the_answer_names_the_winner_and_the_closest(study):
    said = answer(findings_of(study))
    assert said.startswith(
        "adam is better than every other arm by validation accuracy, over 5 seeds. "
        "The closest is adagrad: the difference is 0.0600"
    )
    assert effort(findings_of(study)).startswith("Each arm had 4 points of its space (halton)")


def test_by_steps_a_miss_counts_as_all_steps_and_a_diverged_run_too(tmp_path):
    made = comparison(select_by="steps_to_target", trials=2, seeds=3, target=0.85)
    study = Study(tmp_path / "study", made).open()
    for _ in range(2):
        for number, trial in enumerate(study.extend()):
            if study.outcome(trial):
                continue
            if trial.arm == "sgd" and trial.kind == "best":
                finish(
                    study, trial, [0.1, 0.2, 0.3, 0.4], "diverged" if number % 2 else "completed"
                )
            else:
                finish(study, trial, [0.2, 0.9, 0.9, 0.9])
    found = findings_of(study)
    (pair,) = found.verdict.pairs
    assert (pair.better, pair.difference.mean) == ("adam", 20)
    assert any("runs of its best point diverged" in warning for warning in found.warnings)


def test_what_to_be_wary_of(tmp_path):
    arms = {
        "sgd": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-3, 1.0)}),
        "adam": Arm({"optimizer.name": "adam"}, {RATE: LogUniform(1e-5, 0.1)}, trials=16),
    }
    study = Study(tmp_path / "study", comparison(arms=arms, trials=3)).open()
    trials = study.extend()
    rates = {t.name: t.settings[RATE] for t in trials if t.arm == "adam" and t.kind == "search"}
    largest = max(rates, key=rates.get)
    for trial in trials[:-1]:
        finish(study, trial, [0.9 if trial.name == largest else 0.5])
    said = "\n".join(findings_of(study).warnings)
    assert "The study has not finished: 20 of 21 trials have ended." in said
    assert "between 3 and 16 points" in said
    assert f"adam: {RATE}={rates[largest]} is at the upper end of its range" in said
    assert "2 seeds are few: unless differences are assumed to be normal, no p" in said
    assert answer(findings_of(study)) == ("There is no answer yet: 20 of 21 trials have ended.")


def test_the_page(study):
    page = study_page(findings_of(study))
    assert page == study_page(findings_of(Study.read(study.path)))
    assert len(page) < 5e6
    assert not re.findall(r"(?:src|href|url)\s*[=(]", page)
    assert html.escape(answer(findings_of(study)), quote=False) in page.replace("&#39;", "'")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert "nan" not in svg
        assert "inf" not in svg
    assert page.count('class="cross"') == 3 + 5  # adagrad's points; sgd never reaches the target


@pytest.mark.parametrize("case", ["empty", "half", "all diverged", "one seed", "no space"])
def test_a_page_of_any_study(tmp_path, case):
    arms = {
        "a": Arm({"optimizer.name": "sgd"}, {RATE: LogUniform(1e-3, 1.0)}),
        "b": Arm({"optimizer.name": "adam"}),
    }
    made = comparison(arms=arms, title="A <b>title</b>", seeds=1 if case == "one seed" else 2)
    study = Study(tmp_path / "study", made).open()
    for _ in range(2):
        for trial in study.extend():
            if case == "empty" or (case == "half" and trial.point):
                continue
            if not study.outcome(trial):
                finish(
                    study, trial, [0.4, 0.5], "diverged" if case == "all diverged" else "completed"
                )
    page = study_page(findings_of(study))
    assert "A &lt;b&gt;title&lt;/b&gt;" in page
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_the_table_of_trials(study):
    rows = list(csv.DictReader(trials_table(study).splitlines()))
    assert len(rows) == 30
    assert [row["trial"] for row in rows] == [trial.name for trial in study.trials()]
    assert json.loads(rows[1]["settings"]) == study.trials()[1].settings
    assert float(rows[1]["value"]) == study.outcome(study.trials()[1]).value


def test_a_report_of_several_studies(study, tmp_path):
    other = Study(tmp_path / "other", study.comparison).open()
    for _ in range(2):
        for trial in other.extend():
            if not other.outcome(trial):
                finish(other, trial, [0.9, 0.9] if trial.arm == "adam" else [0.1, 0.9])
    page, said = report([study.path, other.path], tmp_path / "both.html")
    assert said.startswith("Over 2 workloads, adam has the best score, 1.000 of 1.")
    assert "never" in page.read_text()
    with pytest.raises(UserError, match="studies on one page need the same arms"):
        report([study.path, Study(tmp_path / "third", comparison()).open().path])


def test_a_report_of_runs(study, tmp_path):
    paths = [study.workdir(trial).path for trial in study.trials()[:3]]
    for path, trial in zip(paths, study.trials(), strict=False):
        config = study.comparison.config(trial.arm, trial.settings, trial.seed)
        (path / "config.json").write_text(json.dumps(config.to_dict()))
    page, said = report(paths, tmp_path / "runs.html")
    assert said == f"3 runs, which differ in {RATE}."
    for trial in study.trials()[:3]:
        assert f"<td>{study.outcome(trial).value:.4f}</td>" in page.read_text()
    with pytest.raises(UserError, match="studies and runs cannot share a page"):
        report([study.path, paths[0]])
    with pytest.raises(UserError, match="holds neither a study"):
        report([tmp_path])
    with pytest.raises(UserError, match="given twice"):
        report([paths[0], paths[0]])
