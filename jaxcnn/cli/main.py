"""The entry point of the command line, and its error messages."""

import argparse
import atexit
import logging
import os
import re
import sys
from contextlib import suppress

import jaxcnn
from jaxcnn.cli import (
    checkpoints,
    comparing,
    extraction,
    inside,
    lists,
    networks,
    pictures,
    practice,
    runs,
    training,
)
from jaxcnn.cli.flags import Parser, overrides_of, path_of
from jaxcnn.errors import UserError
from jaxcnn.files import storage_problem


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code, or ends the program with it if that is an error.

    0: success. 1: an error. 75: preempted, the same command resumes the run. 76: the run diverged, and
    the same command would repeat that.
    """
    if argv is not None:
        return _run(argv)
    try:
        code = _run(sys.argv[1:])
    except Exception:  # a bug
        sys.excepthook(*sys.exc_info())
        code = 1
    if code in (0, 75):
        return code
    # Threads of libraries may wait for what has failed, and Python would wait for them.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text in any encoding
        stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jaxcnn").setLevel(logging.INFO)
    # It has a handler of its own: its warnings would be shown twice.
    logging.getLogger("huggingface_hub").propagate = False
    options: list[str] = []  # of the command, filled in by _parse
    code = 1
    try:
        arguments = _parse(argv, options)
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
        message = _of_the_machine(error)
        if message is None:
            raise
    # In one piece: a library's thread may write to the terminal at the same moment.
    sys.stderr.write(f"jaxcnn: error: {message}\n")
    return code


def _of_the_machine(error: Exception) -> str | None:
    """The message for an error that is the disk's or the memory's, and no bug; None for another."""
    if problem := storage_problem(error):
        reason, full = problem
        where = f": {error.filename}" if getattr(error, "filename", None) else ""
        if full:
            return f"the disk is full ({reason}{where}); free some space, then run this again"
        return f"a file cannot be read or written ({reason}{where}); mend that, then run this again"
    if "RESOURCE_EXHAUSTED" in str(error) and "memory" in str(error):
        return (
            f"the device is out of memory ({str(error).splitlines()[0][:200]}); a smaller "
            "config.train.global_batch_size, or more config.train.microbatches, needs less"
        )
    return None


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
    families = (
        training,
        practice,
        comparing,
        runs,
        extraction,
        inside,
        checkpoints,
        pictures,
        networks,
        lists,
    )
    for family in families:
        family.add_commands(commands)
    arguments, rest = parser.parse_known_args(argv)
    known = commands.choices[arguments.prog.split()[-1]]._option_string_actions
    options += known
    if hasattr(arguments, "images"):  # argparse takes none after a flag
        arguments.images += map(path_of("IMAGE"), (word for word in rest if word[:1] != "-"))
        rest = [word for word in rest if word[:1] == "-"]
    arguments.overrides = overrides_of(rest, arguments, known)
    return arguments


def _with_dashes(message: str, options: list[str]) -> str:
    """Spells the setting in a library's message as a flag if the command has that flag."""
    message = message.replace("overwrite=True", "--overwrite")
    named = re.match(r"(\w+)(?=[=:])", message)
    flag = named and f"--{named[0].replace('_', '-')}"
    return f"{flag}{message[named.end() :]}" if flag in options else message
