"""jaxcnn train."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from jaxcnn.cli.flags import add_command, takes_config
from jaxcnn.cli.runs import metrics_table

# Preempted and resumable: EX_TEMPFAIL of sysexits.h, upon which schedulers start a job again.
PREEMPTED = 75


def add_commands(commands) -> None:
    parser = add_command(
        commands, "train", _train, "train from a config file, or resume the run in the workdir"
    )
    takes_config(parser)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--overwrite", action="store_true", help="remove the run that is there first"
    )


def _train(arguments: argparse.Namespace) -> int:
    again = (
        "the same command" + (", without --overwrite," if arguments.overwrite else "") + " goes on"
    )

    said = f"stopped by a signal outside the training loop; {again}\n".encode()

    def stop(*_) -> None:  # before and after the loop, which has a handler of its own
        # No exception: one that is raised while a destructor or a library's callback runs is
        # swallowed there, and the run would go on. Nothing needs tidying that a kill would not.
        os.write(1, said)
        os._exit(PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    from jaxcnn import runtime
    from jaxcnn.train.experiment import load_config
    from jaxcnn.train.loop import train  # the slow part of the start

    config = load_config(arguments.config, arguments.overrides)
    runtime.prepare()
    result = train(config, arguments.workdir, overwrite=arguments.overwrite)
    if result["status"] == "preempted":
        print(f"stopped by a signal; saved at step {result['steps']}; {again}")
        return PREEMPTED
    _print_result(result, Path(arguments.workdir))
    return 0


def _print_result(result: dict, workdir: Path) -> None:
    rows = {
        f"{split}, {which} (step {result[which]['step']})": result[which][split]
        for which in ("best", "final")
        for split in ("validation", "test")
        if split in result[which]
    }
    if rows:
        print(f"\n{metrics_table(rows)}")
    print(
        f"\n{result['parameters']:,} parameters, {result['steps']:,} steps, "
        f"{result['images']:,} images in {result['seconds']:.1f} s of training "
        f"({result['images'] / result['seconds']:,.0f} images/s)"
    )
    # Where the environment is not activated, the commands need their path.
    programs = (
        "" if shutil.which("jaxcnn") else os.path.relpath(Path(sys.executable).parent) + os.sep
    )
    print(f"\nworkdir      {workdir}")
    print(f"curves       {workdir / 'plots' / 'curves.png'}")
    print(f"TensorBoard  {programs}tensorboard --logdir {workdir / 'tensorboard'}")
    print(f"try next     {programs}jaxcnn eval --workdir={workdir}")
    print(f"             {programs}jaxcnn predict --workdir={workdir} IMAGE.png")
