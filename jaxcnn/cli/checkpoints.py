"""jaxcnn checkpoint: which checkpoints a run has, and whether they are whole."""

import argparse

from jaxcnn.cli.flags import add_command, path_of
from jaxcnn.errors import UserError


def add_commands(commands) -> None:
    parser = add_command(
        commands, "checkpoint", _checkpoint, "list the checkpoints of a run, or verify every byte"
    )
    parser.add_argument("action", choices=("list", "verify"), metavar="list|verify")
    parser.add_argument(
        "workdir", type=path_of("WORKDIR"), metavar="WORKDIR", help="the run's directory"
    )


def _checkpoint(arguments: argparse.Namespace) -> None:
    from jaxcnn.train.inventory import stored_in

    stored = stored_in(arguments.workdir)
    if not stored:
        raise UserError(f"workdir={arguments.workdir} holds no checkpoint yet")
    verifies, damaged = arguments.action == "verify", []
    print(
        f"{'kind':<8}{'step':>10}{'size':>12}  {'saved':<20}{'state' if verifies else ''}".rstrip()
    )
    for one in stored:
        said = "set aside as damaged" if one.set_aside else ""
        if verifies and not one.set_aside:
            problem = one.problem()
            damaged += [one] if problem else []
            said = problem or ("whole" if one.sealed else "not sealed: version 0.1.0 wrote it")
        size = f"{one.size / 1e6:,.2f} MB"
        print(
            f"{one.kind:<8}{one.step:>10,}{size:>12}  {one.saved:%Y-%m-%d %H:%M}    {said}".rstrip()
        )
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(stored)} checkpoints damaged: "
            f"{', '.join(str(one.path) for one in damaged)}; a resumed run uses the one before"
        )
