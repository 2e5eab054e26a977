"""The entry point of the command line, and its error messages."""

import argparse
import logging
import os
import re
import sys

import jaxcnn
from jaxcnn.cli import checkpoints, comparing, lists, networks, pictures, runs, training
from jaxcnn.cli.flags import Parser, overrides_of
from jaxcnn.errors import UserError

_DISK_FULL = ("No space left on device", "Disk quota exceeded")


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    0: success. 1: an error. 75: preempted, the same command resumes the run. 76: the run diverged, and
    the same command would repeat that.
    """
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text in any encoding
        stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jaxcnn").setLevel(logging.INFO)
    options: list[str] = []  # of the command, filled in by _parse
    code = 1
    try:
        arguments = _parse(sys.argv[1:] if argv is None else argv, options)
        _set_loudness(arguments)
        return arguments.command(arguments) or 0
    except UserError as error:
        message, code = _with_dashes(str(error), options), error.exit_code
    except BrokenPipeError:  # as in `jaxcnn optimizers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        message = "interrupted"
    except Exception as error:
        # A full disk is not a bug, but every library reports it with a different exception.
        reason = next((text for text in _DISK_FULL if text in str(error)), None)
        if reason is None:
            raise
        message = f"the disk is full ({reason}); free some space, then run this again"
    # In one piece: a library's thread may write to the terminal at the same moment.
    sys.stderr.write(f"jaxcnn: error: {message}\n")
    return code


def _set_loudness(arguments: argparse.Namespace) -> None:
    """-q: warnings only on the terminal, while a run's log file has all; -v: the libraries' log too."""
    if arguments.quiet:
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.WARNING)
    if arguments.verbose:
        logging.getLogger().setLevel(logging.INFO)


def _parse(argv: list[str], options: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="jaxcnn",
        description="Train convolutional image classifiers with JAX and Flax.",
        epilog="Begin with: jaxcnn train --config=digits_lenet --workdir=runs/digits",
    )
    version = f"jaxcnn {jaxcnn.__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for family in (training, comparing, runs, checkpoints, pictures, networks, lists):
        family.add_commands(commands)
    arguments, rest = parser.parse_known_args(argv)
    known = commands.choices[arguments.prog.split()[-1]]._option_string_actions
    options += known
    arguments.overrides = overrides_of(rest, arguments, known)
    return arguments


def _with_dashes(message: str, options: list[str]) -> str:
    """Spells the setting in a library's message as a flag if the command has that flag."""
    message = message.replace("overwrite=True", "--overwrite")
    named = re.match(r"(\w+)(?=[=:])", message)
    flag = named and f"--{named[0].replace('_', '-')}"
    return f"{flag}{message[named.end() :]}" if flag in options else message
