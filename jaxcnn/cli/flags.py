"""What the commands' flags have in common: how they are declared, read and refused."""

import argparse
from collections.abc import Callable, Iterable

from jaxcnn.errors import UserError, suggestion

Function = Callable[[argparse.Namespace], int | None]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UserErrors: one line, exit code 1."""

    def __init__(self, **settings):
        super().__init__(**{"formatter_class": _Help, "allow_abbrev": False, **settings})

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


class _Help(argparse.HelpFormatter):
    """argparse's help, with each name and what it does on one line."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28)

    def _iter_indented_subactions(self, action: argparse.Action):
        # Not indented: argparse reckons the width of the names without it, and breaks the longest.
        yield from getattr(action, "_get_subactions", list)()

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        is_list_of_commands = action.nargs == argparse.PARSER
        return text.partition("\n")[2] if is_list_of_commands else text


def add_command(commands, name: str, function: Function, description: str) -> Parser:
    """Adds a command that calls `function` with its parsed flags."""
    sentence = f"{description[0].upper()}{description[1:]}."
    parser = commands.add_parser(name, help=description, description=sentence)
    parser.set_defaults(command=function, prog=parser.prog)
    return parser


def takes_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--config and --config.KEY."""
    parser.set_defaults(override_prefix="--config.")
    parser.add_argument(
        "--config",
        required=required,
        metavar="FILE",
        help="a config file, or the name of a shipped one (see jaxcnn configs); FILE:TEXT passes TEXT "
        "to its get_config",
    )
    parser.add_argument(
        "--config.KEY",
        dest="_",
        metavar="VALUE",
        help="changes one setting, e.g. --config.optimizer.learning_rate=0.1",
    )


def takes_model_settings(parser: argparse.ArgumentParser) -> None:
    """--model.KEY and --input."""
    parser.set_defaults(override_prefix="--model.")
    parser.add_argument(
        "--model.KEY",
        dest="_",
        metavar="VALUE",
        help="changes one of its settings, e.g. --model.stem=cifar",
    )
    parser.add_argument(
        "--input",
        type=_image_shape,
        metavar="H,W,C",
        help="the images' size (default: what the model was published for)",
    )


def takes_run(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--workdir and --checkpoint."""
    parser.add_argument("--workdir", required=required, metavar="DIR", help="the run's directory")
    parser.add_argument("--checkpoint", metavar="WHICH", help="best (default), latest or a step")


def takes_pattern(parser: argparse.ArgumentParser, example: str) -> None:
    """PATTERN, which picks names."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help=f"a shell pattern of names, e.g. '{example}' (default: all)",
    )


def takes_imports(parser: argparse.ArgumentParser) -> None:
    """--imports."""
    parser.add_argument(
        "--imports",
        default="",
        metavar="MODULE,…",
        help="modules of your own that register models, optimizers, …",
    )


def import_named(arguments: argparse.Namespace) -> None:
    """Imports the modules of --imports."""
    from jaxcnn.config import import_modules

    import_modules(filter(None, arguments.imports.split(",")), "imports")


def model_fields(arguments: argparse.Namespace) -> dict:
    """The settings of --model.KEY=VALUE."""
    from jaxcnn.config import resolve_settings
    from jaxcnn.models import MODELS

    return resolve_settings(MODELS, arguments.model, arguments.overrides, "--model")


def overrides_of(
    words: Iterable[str], arguments: argparse.Namespace, known: Iterable[str]
) -> dict[str, str]:
    """{dotted key: text} of the --config.a.b=value among the words that argparse left.

    Args:
      known: the options of the command, for the error.
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
    """Raises UserError where something was given that would be ignored."""
    if given:
        raise UserError(message)


def _image_shape(text: str) -> tuple[int, int, int]:
    """H,W,C"""
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise UserError(f"--input={text} must be height,width,channels, as 224,224,3")
    return height, width, channels
