"""jaxcnn check, lr-range, diagnose and report-run: what is looked at before a run and after it."""

import argparse
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_config
from jaxcnn.cli.pictures import require_png, takes_out

_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


def add_commands(commands) -> None:
    parser = add_command(
        commands,
        "check",
        _check,
        "check a config's data and network, and that it can learn; exit code 1 if a check fails",
    )
    takes_config(parser)
    parser.add_argument(
        "--examples", type=int, metavar="N", help="images to learn by heart (default: 32)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="in which they are learned (default: 200)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

    parser = add_command(
        commands,
        "lr-range",
        _lr_range,
        "suggest a learning rate: train while it rises from step to step, and draw the loss",
    )
    takes_config(parser)
    takes_out(parser, "lr_range.png")
    parser.add_argument("--low", type=float, default=1e-5, help="the first rate (default: 1e-5)")
    parser.add_argument("--high", type=float, default=10.0, help="the last rate (default: 10)")
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="from one to the other (default: 200)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

    parser = add_command(
        commands,
        "diagnose",
        _diagnose,
        "say what the curves of runs show, such as overfitting, and what to try",
    )
    parser.add_argument(
        "workdirs", nargs="+", metavar="WORKDIR", type=path_of("WORKDIR"), help="a run's directory"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

    parser = add_command(
        commands,
        "report-run",
        _report_run,
        "write the page of a run: curves, classes, mistakes, calibration, settings",
    )
    parser.add_argument(
        "workdir", metavar="WORKDIR", type=path_of("WORKDIR"), help="a run's directory"
    )
    parser.add_argument("--split", default="test", help="train, validation or test (default)")
    parser.add_argument(
        "--to", metavar="FILE", type=path_of("--to"), help="default: WORKDIR/report.html"
    )


def _check(arguments: argparse.Namespace) -> int:
    from jaxcnn import runtime
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.check import EXAMPLES, STEPS, check
    from jaxcnn.train.experiment import load_config

    for flag in ("examples", "steps"):
        given = getattr(arguments, flag)
        refuse(given is not None and given < 1, f"--{flag}={given} must be at least 1")
    config = load_config(arguments.config, arguments.overrides)
    runtime.prepare()
    dataset = load_dataset(config.data.to_dict())
    sizes = arguments.examples or EXAMPLES, arguments.steps or STEPS
    findings = []
    for finding in check(config, dataset, *sizes):
        findings.append(finding)
        if not arguments.json:
            print(f"{_MARKS[finding.outcome]:<9}{finding.check:<14}{finding.verdict}", flush=True)
    failed = [finding.check for finding in findings if finding.failed]
    if arguments.json:
        print(json.dumps([finding.to_json() for finding in findings], indent=2, allow_nan=False))
    else:
        outcomes = [finding.outcome for finding in findings]
        counts = (f"{n} {outcome}" for outcome in _MARKS if (n := outcomes.count(outcome)))
        print(f"\n{len(findings)} checks: {', '.join(counts)}{': ' if failed else ''}", end="")
        print(", ".join(failed))
    return 1 if failed else 0


def _lr_range(arguments: argparse.Namespace) -> None:
    from jaxcnn import runtime
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.lr_range import range_test
    from jaxcnn.plots.lr_range import draw_range_test
    from jaxcnn.plots.saving import save
    from jaxcnn.train.experiment import load_config

    low, high, steps = arguments.low, arguments.high, arguments.steps
    refuse(not 0 < low < high < 1e6, f"--low={low:g} and --high={high:g} must rise from above 0")
    refuse(steps < 30, f"--steps={steps} must be at least 30")
    require_png(arguments.out)
    config = load_config(arguments.config, arguments.overrides)
    runtime.prepare()
    found = range_test(config, load_dataset(config.data.to_dict()), low, high, steps)
    heading = f"learning-rate range test: {config.model.name}, {config.optimizer.name}"
    figure = draw_range_test(found.rates, found.losses, found.smoothed, found.suggestion, heading)
    save(figure, arguments.out)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
        return
    own = config.optimizer.learning_rate
    print(f"suggested learning rate: {found.suggestion:g} (the config has {own:g})")
    print(f"{found.reason}: {arguments.out}")
    print(f"to train with it: --config.optimizer.learning_rate={found.suggestion:g}")


def _diagnose(arguments: argparse.Namespace) -> None:
    from jaxcnn.diagnose.curves import Curves
    from jaxcnn.diagnose.diagnosis import diagnose
    from jaxcnn.plots.diagnosis import draw_diagnosis
    from jaxcnn.plots.saving import save
    from jaxcnn.train.workdir import Workdir

    every = [Curves.of(workdir) for workdir in arguments.workdirs]
    found = {str(curves.workdir): diagnose(curves) for curves in every}
    for curves in every:
        marks = {condition.name: condition.where for condition in found[str(curves.workdir)]}
        numbers = curves.steps, curves.losses, curves.rates, curves.held_out_steps, curves.held_out
        picture = curves.workdir / "plots" / "diagnosis.png"
        save(draw_diagnosis(*numbers, curves.neutral, marks, curves.workdir.name), picture)
        if arguments.json:
            continue
        print(f"{curves.workdir}: {', '.join(marks) or 'nothing to mend'}")
        environments = Workdir(curves.workdir).read_environments()
        command = environments[-1].get("command", []) if environments else []
        other = (f"{curves.workdir}-{number}" for number in itertools.count(2))
        for condition in found[str(curves.workdir)]:
            print(f"  {condition.name}: {condition.evidence}")
            print(f"  try {condition.advice}")
            if condition.settings:
                print(f"    {_again(command, condition.settings, next(other))}")
        print(f"  picture: {picture}")
    if arguments.json:
        as_json = {
            name: [each.to_json() for each in conditions] for name, conditions in found.items()
        }
        print(json.dumps(as_json, indent=2))


def _again(command: Sequence[str], settings: Mapping[str, Any], workdir: str) -> str:
    """The command of a run with other settings; the settings alone if it was not a command's.

    Another schedule has other settings, except for the warm-up.
    """
    changed = [f"--config.{key}={value}" for key, value in settings.items()]
    if list(command[1:2]) != ["train"]:
        return shlex.join(changed)
    replaced = (*(f"--config.{key}" for key in settings), "--workdir", "--overwrite")
    kept, words = [], iter(command[2:])
    for word in words:
        flag, equals, _ = word.partition("=")
        of_schedule = flag.startswith("--config.schedule.") and not flag.endswith(".warmup")
        if flag not in replaced and not (of_schedule and "schedule.name" in settings):
            kept.append(word)
        elif not equals and flag != "--overwrite":
            next(words, None)  # its value
    return shlex.join(["jaxcnn", "train", *kept, *changed, f"--workdir={workdir}"])


def _report_run(arguments: argparse.Namespace) -> None:
    from jaxcnn import runtime
    from jaxcnn.diagnose.run_page import run_page
    from jaxcnn.files import asked_for

    target = Path(arguments.to or Path(arguments.workdir) / "report.html")
    refuse(target.suffix != ".html", f"--to={target} must end in .html")
    runtime.prepare()
    page, answer = run_page(arguments.workdir, arguments.split)
    with asked_for("to", target) as partial:
        partial.write_bytes(page.encode())
    print(answer)
    print(f"page: {target}")
