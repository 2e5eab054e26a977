"""jaxcnn train: train from a config, or resume a run."""

import argparse
import json
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from jaxcnn.cli.flags import add_command, refuse, takes_config, takes_workdir
from jaxcnn.cli.runs import metrics_table

log = logging.getLogger(__name__)

# Preempted and resumable: EX_TEMPFAIL of sysexits.h, on which schedulers restart a job.
PREEMPTED = 75


def add_commands(commands) -> None:
    parser = add_command(
        commands, "train", _train, "train from a config file, or resume the run in the workdir"
    )
    takes_config(parser)
    takes_workdir(parser, required=False)
    parser.add_argument(
        "--overwrite", action="store_true", help="first remove the run in the workdir"
    )
    several = parser.add_argument_group(
        "several processes",
        "SLURM, Cloud TPU, Open MPI and Kubernetes are recognised without flags.",
    )
    several.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="an address of process 0"
    )
    several.add_argument("--num_processes", type=int, metavar="N", help="how many train together")
    several.add_argument("--process_id", type=int, metavar="I", help="this one's number, from 0")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="only compile the step, and print what it needs; nothing is written",
    )
    parser.add_argument(
        "--topology",
        metavar="SLICE",
        help="with --dry_run: compile for TPUs that need not be there, e.g. v5e:2x4, or 2*v5e:2x4 "
        "for two slices",
    )
    parser.add_argument("--json", action="store_true", help="with --dry_run: print JSON")


def ends_on_signals(again: str, tell: Callable[[str], None] = lambda said: None) -> None:
    """Before and after the training loop, which has its own handler, a signal ends the process.

    Args:
      again: what continues it, for the message.
      tell: tells the message to other processes.
    """
    said = f"stopped by a signal outside the training loop; {again}"

    def stop(*_) -> None:
        # No exception: raised in a destructor or a library's callback, it would be swallowed and
        # the run would continue. No clean-up is needed, since a run survives even SIGKILL.
        os.write(1, f"{said}\n".encode())
        tell(said)
        os._exit(PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _dry_run(arguments: argparse.Namespace) -> None:
    from jaxcnn import runtime
    from jaxcnn.diagnose.dry_run import dry_run
    from jaxcnn.diagnose.tpus import Topology
    from jaxcnn.train.experiment import load_config

    if arguments.num_processes or arguments.coordinator or arguments.process_id is not None:
        refuse(True, "--dry_run compiles in one process; without --coordinator and the like")
    config = load_config(arguments.config, arguments.overrides)
    topology = Topology.of(arguments.topology) if arguments.topology else None
    if topology:
        topology.prepare()
    runtime.prepare()
    log.info("compiling the step of %s", arguments.config)
    found = dry_run(config, topology=topology)
    print(json.dumps(found.to_json(), indent=2) if arguments.json else found.table())


def _train(arguments: argparse.Namespace) -> int | None:
    if arguments.dry_run:
        return _dry_run(arguments)
    for flag in ("topology", "json"):
        refuse(getattr(arguments, flag), f"--{flag} needs --dry_run")
    refuse(not arguments.workdir, "--workdir is missing: it is the directory of the run")
    without = ", without --overwrite," if arguments.overwrite else ""
    again = f"the same command{without} resumes the run"
    ends_on_signals(again)
    if not arguments.process_id:
        log.info("%s: starting", arguments.workdir)
    from jaxcnn import hosts, runtime

    hosts.join(arguments.coordinator, arguments.num_processes, arguments.process_id)
    ends_on_signals(again, lambda said: hosts.end(said, PREEMPTED))
    with hosts.together():
        from jaxcnn.train.experiment import load_config
        from jaxcnn.train.preemption import Preempted
        from jaxcnn.train.start import train  # the slow part of the start

        config = load_config(arguments.config, arguments.overrides)
        runtime.prepare()
        try:
            result = train(config, arguments.workdir, overwrite=arguments.overwrite)
        except Preempted as signalled:
            result = signalled.result
    if hosts.primary():
        _print_end(result, Path(arguments.workdir), again)
    return PREEMPTED if result["status"] == "preempted" else 0


def _print_end(result: dict, workdir: Path, again: str) -> None:
    if result["status"] == "preempted":
        print(f"stopped by a signal; saved at step {result['steps']}; {again}")
        return
    if result["status"] == "stopped":
        print(f"stopped by an observer at step {result['steps']}; {again}")
    _print_result(result, workdir)


def _print_result(result: dict, workdir: Path) -> None:
    rows = {
        f"{split}, {which} (step {result[which]['step']})": result[which][split]
        for which in ("best", "final")
        for split in ("validation", "test")
        if split in (result[which] or {})
    }
    if rows:
        print(f"\n{metrics_table(rows)}")
    print(
        f"\n{result['parameters']:,} parameters, {result['steps']:,} steps, "
        f"{result['images']:,} images in {result['seconds']:.1f} s of training "
        f"({result['images'] / result['seconds']:,.0f} images/s)"
    )
    # The commands need their path if the environment is not activated.
    programs = (
        "" if shutil.which("jaxcnn") else os.path.relpath(Path(sys.executable).parent) + os.sep
    )
    print(f"\nworkdir      {workdir}")
    print(f"curves       {workdir / 'plots' / 'curves.png'}")
    there = shlex.quote(f"--workdir={workdir}")
    print(
        f"TensorBoard  {programs}tensorboard --logdir {shlex.quote(str(workdir / 'tensorboard'))}"
    )
    print(f"try next     {programs}jaxcnn eval {there}")
    print(f"             {programs}jaxcnn predict {there} IMAGE.png")
