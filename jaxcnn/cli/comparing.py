"""jaxcnn sweep and report: run the trials of a comparison, and report the results."""

import argparse
import logging
import os
import shlex

from jaxcnn.cli.flags import add_command, path_of, takes_config, takes_workdir
from jaxcnn.cli.training import PREEMPTED, ends_on_signals
from jaxcnn.errors import UserError

log = logging.getLogger(__name__)


def add_commands(commands) -> None:
    parser = add_command(commands, "sweep", _sweep, "run or resume the trials of a comparison")
    takes_config(parser)
    takes_workdir(parser, required=False)
    parser.add_argument("--trials", type=int, metavar="N", help="points to try per arm")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each arm's best point")
    parser.add_argument(
        "--way",
        metavar="WAY",
        help="sequential (default): one trial after another; vmap, map or shard_map: a pack of trials "
        "in one program",
    )
    parser.add_argument("--pack", type=int, metavar="N", help="trials per program (default: 8)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="worker processes on this machine (default: 1)"
    )
    parser.add_argument(
        "--worker",
        action="store_true",
        help="run a single worker; any number of them, on any machine, can share a study directory",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="list the trials, and estimate how long they take",
    )
    parser = add_command(
        commands,
        "report",
        _report,
        "write a page about a study, several studies or several runs",
    )
    parser.add_argument(
        "paths", nargs="+", type=path_of("DIR"), metavar="DIR", help="directory of a study or a run"
    )
    parser.add_argument(
        "--to",
        type=path_of("--to"),
        metavar="FILE",
        help="path of the page (default: report.html, in the study or the current directory)",
    )


def _report(arguments: argparse.Namespace) -> None:
    from jaxcnn.compare.side_by_side import report

    page, answer = report(arguments.paths, arguments.to)
    print(answer)
    print(f"\nreport  {page}")


def _sweep(arguments: argparse.Namespace) -> int:
    # One thread per worker: the same bits on every machine, however many workers there are.
    os.environ.setdefault("NPROC", "1")
    from jaxcnn.compare.loading import load_comparison

    changes = {key: getattr(arguments, key) for key in ("trials", "seeds", "way", "pack")}
    given = {key: value for key, value in changes.items() if value is not None}
    comparison = load_comparison(arguments.config, arguments.overrides, **given)
    if arguments.dry_run:
        return _dry_run(comparison)
    if arguments.workdir is None:
        raise UserError("--workdir is missing: it is the directory of the study")
    if arguments.worker and arguments.workers:
        raise UserError(
            f"--workers={arguments.workers}: --worker runs a single worker; remove one of the two"
        )
    workers = 1 if arguments.workers is None else arguments.workers
    if workers < 1:
        raise UserError(f"--workers={workers} must be at least 1")
    from jaxcnn.compare.study import Study

    study = Study(arguments.workdir, comparison).open()
    return _work(study) if arguments.worker else _lead(study, arguments, given, workers)


def _work(study) -> int:
    ends_on_signals("the same command resumes the sweep")
    from jaxcnn import runtime
    from jaxcnn.compare.worker import Worker
    from jaxcnn.train.preemption import Preempted

    for handler in logging.getLogger().handlers:  # each run has its own log file
        handler.addFilter(
            lambda record: (
                record.levelno > logging.INFO or not record.name.startswith("jaxcnn.train")
            )
        )
    runtime.prepare()
    try:
        Worker(study).work()
    except Preempted:
        return PREEMPTED
    return 0


def _lead(study, arguments: argparse.Namespace, given: dict, workers: int) -> int:
    from jaxcnn.compare.sweep import Interrupted, sweep, worker_command

    trials = study.extend()
    ended = sum(study.outcome(trial) is not None for trial in trials)
    log.info("%s: %d trials, %d ended; %d worker(s)", study.path, len(trials), ended, workers)
    same = [f"--config={arguments.config}", f"--workdir={arguments.workdir}"]
    same += [f"--{key}={value}" for key, value in given.items()]
    same += [f"--config.{key}={value}" for key, value in arguments.overrides.items()]
    try:
        sweep(study, worker_command(same), workers)
    except Interrupted:
        print("stopped by a signal; everything is saved, and the same command resumes the sweep")
        return PREEMPTED
    print(f"\nall {len(study.trials())} trials have ended")
    print(f"try next     jaxcnn report {shlex.quote(arguments.workdir)}")
    return 0


def _dry_run(comparison) -> int:
    from jaxcnn import runtime
    from jaxcnn.compare.estimate import estimate
    from jaxcnn.compare.study import Study

    runtime.prepare()
    study = Study("", comparison)
    for trial in study.first_stage():
        settings = "  ".join(f"{key}={value}" for key, value in trial.settings.items())
        print(f"{trial.name:24} seed {trial.seed}  {settings or 'untuned'}")
    for arm in comparison.arms:
        print(f"{f'{arm}/best point':24} {comparison.seeds} fresh seeds")
    training = logging.getLogger("jaxcnn.train")
    level = training.level
    training.setLevel(logging.WARNING)
    try:
        found = estimate(study)
    finally:
        training.setLevel(level)
    for arm, seconds in found.step_seconds.items():
        print(f"{arm:24} {1000 * seconds:.1f} ms per step")
    print(f"{found.trials} trials, about {found.seconds / 60:.0f} minutes with one worker")
    return 0
