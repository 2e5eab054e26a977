"""Shared flags of the commands: declaration, parsing and errors."""

import argparse
from collections.abc import Callable, Iterable

from jaxcnn.errors import UserError, suggestion
from jaxcnn.files import usable_path

Function = Callable[[argparse.Namespace], int | None]


class Parser(argparse.ArgumentParser):
    """A parser that raises UserError: a one-line message, exit code 1."""

    def __init__(self, **settings):
        super().__init__(**{"formatter_class": _Help, "allow_abbrev": False, **settings})

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


class _Help(argparse.HelpFormatter):
    """argparse's help, with each name and what it does on one line."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28)

    def _iter_indented_subactions(self, action: argparse.Action):
        # Not indented: argparse ignores the indent in the width of the names and wraps the longest.
        yield from getattr(action, "_get_subactions", list)()

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        is_list_of_commands = action.nargs == argparse.PARSER
        return text.partition("\n")[2] if is_list_of_commands else text


def add_command(commands, name: str, function: Function, description: str) -> Parser:
    """Adds a command that calls `function` with the parsed flags."""
    sentence = f"{description[0].upper()}{description[1:]}."
    parser = commands.add_parser(name, help=description, description=sentence)
    parser.set_defaults(command=function, prog=parser.prog)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="print warnings and results only"
    )
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="print the libraries' log too"
    )
    return parser


def takes_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds --config and --config.KEY."""
    parser.set_defaults(override_prefix="--config.")
    parser.add_argument(
        "--config",
        required=required,
        metavar="FILE",
        help="a config file, or the name of a shipped one (see jaxcnn configs); FILE:TEXT passes "
        "TEXT to get_config",
    )
    parser.add_argument(
        "--config.KEY",
        dest="_",
        metavar="VALUE",
        help="change one setting, e.g. --config.optimizer.learning_rate=0.1",
    )


def takes_model_settings(parser: argparse.ArgumentParser) -> None:
    """Adds --model.KEY and --input."""
    parser.set_defaults(override_prefix="--model.")
    parser.add_argument(
        "--model.KEY",
        dest="_",
        metavar="VALUE",
        help="change one setting of the model, e.g. --model.stem=cifar",
    )
    parser.add_argument(
        "--input",
        type=_image_shape,
        metavar="H,W,C",
        help="the image shape (default: the one the model was published for)",
    )


def path_of(flag: str) -> Callable[[str], str]:
    """The type of a flag that takes a path; a shell leaves the `~` of `--workdir=~/runs` to us."""
    return lambda text: str(usable_path(flag, text))


def takes_workdir(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds --workdir."""
    parser.add_argument(
        "--workdir",
        required=required,
        metavar="DIR",
        type=path_of("--workdir"),
        help="the run's directory",
    )


def takes_run(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds --workdir and --checkpoint."""
    takes_workdir(parser, required)
    parser.add_argument("--checkpoint", metavar="WHICH", help="best (default), latest or a step")


def takes_pattern(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds PATTERN, which selects names."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help=f"a shell-style pattern of names, e.g. '{example}' (default: all)",
    )


def takes_imports(parser: argparse.ArgumentParser) -> None:
    """Adds --imports."""
    parser.add_argument(
        "--imports",
        default="",
        metavar="MODULE,…",
        help="your modules that register models, optimizers, …",
    )


def import_named(arguments: argparse.Namespace) -> None:
    """Imports the modules of --imports."""
    from jaxcnn.config import import_modules

    import_modules(filter(None, arguments.imports.split(",")), "imports")


def model_fields(arguments: argparse.Namespace) -> dict:
    """The model settings given by --model.KEY=VALUE."""
    from jaxcnn.config import resolve_settings
    from jaxcnn.models import MODELS

    return resolve_settings(MODELS, arguments.model, arguments.overrides, "--model")


def overrides_of(
    words: Iterable[str], arguments: argparse.Namespace, known: Iterable[str]
) -> dict[str, str]:
    """{dotted key: text} of the --config.a.b=value among the words that argparse does not know.

    Args:
      words: the remaining words of the command line.
      known: the options of the command, for the error message.

    Raises:
      UserError: a word is no such flag, or has no value.
    """
    overrides, words = {}, iter(words)
    prefix = getattr(arguments, "override_prefix", None)
    for word in words:
        flag, equals, value = word.partition("=")
        if not (prefix and flag.startswith(prefix)):
            options = [option for option in known if option.startswith("--")]
            raise UserError(f"unknown argument {word}; {suggestion(flag, options)}")
        if not equals:
            value = next(words, None)
            if value is None:
                raise UserError(f"{flag} needs a value: {flag}=VALUE")
        overrides[flag.removeprefix(prefix)] = value
    return overrides


def refuse(given, message: str) -> None:
    """Raises UserError if a flag is given that would be ignored."""
    if given:
        raise UserError(message)


def _image_shape(text: str) -> tuple[int, int, int]:
    """Parses H,W,C."""
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise UserError(f"--input={text} must be height,width,channels, e.g. 224,224,3")
    return height, width, channels
