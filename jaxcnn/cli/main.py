"""The command line: its commands, and how an error is said."""

import argparse
import logging
import os
import re
import sys

import jaxcnn
from jaxcnn.cli import lists, networks, pictures, runs, training
from jaxcnn.cli.flags import Parser, overrides_of
from jaxcnn.errors import UserError

_DISK_FULL = ("No space left on device", "Disk quota exceeded")


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 75 preempted and resumable, 1 an error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jaxcnn").setLevel(logging.INFO)
    options: list[str] = []  # of the command, once it is known
    try:
        arguments = _parse(sys.argv[1:] if argv is None else argv, options)
        return arguments.command(arguments) or 0
    except UserError as error:
        message = _with_dashes(str(error), options)
    except BrokenPipeError:  # as in `jaxcnn optimizers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        message = "interrupted"
    except Exception as error:
        # A full disk is nobody's bug, but reaches us from every library in another guise.
        reason = next((text for text in _DISK_FULL if text in str(error)), None)
        if reason is None:
            raise
        message = f"the disk is full ({reason}); free some space, then run this again"
    print(f"jaxcnn: error: {message}", file=sys.stderr)
    return 1


def _parse(argv: list[str], options: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxcnn",
        description="Train convolutional image classifiers with JAX and Flax.",
        epilog="Begin with: jaxcnn train --config=digits_lenet --workdir=runs/digits",
    )
    version = f"jaxcnn {jaxcnn.__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for family in (training, runs, pictures, networks, lists):
        family.add_commands(commands)
    arguments, rest = parser.parse_known_args(argv)
    known = commands.choices[arguments.prog.split()[-1]]._option_string_actions
    options += known
    arguments.overrides = overrides_of(rest, arguments, known)
    return arguments


def _with_dashes(message: str, options: list[str]) -> str:
    """A message of the library, in which a setting that is a flag of the command is spelled as one."""
    message = message.replace("overwrite=True", "--overwrite")
    named = re.match(r"(\w+)(?=[=:])", message)
    flag = named and f"--{named[0].replace('_', '-')}"
    return f"{flag}{message[named.end() :]}" if flag in options else message
