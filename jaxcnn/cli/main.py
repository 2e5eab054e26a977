"""The command line: its commands and flags, and how an error is said."""

import argparse
import logging
import os
import sys

from jaxcnn.cli import commands as run
from jaxcnn.errors import UserError, suggestion

_DISK_FULL = ("No space left on device", "Disk quota exceeded")


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 75 preempted and resumable, 1 an error."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jaxcnn").setLevel(logging.INFO)
    try:
        arguments = _parse(sys.argv[1:] if argv is None else argv)
        return arguments.command(arguments) or 0
    except UserError as error:
        message = str(error)
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


# --- parsing ------------------------------------------------------------------------------------

_FROM_HELP = "a .pth or .safetensors file with torchvision's names; or a directory, to export it"
_TO_HELP = "a new directory; or a .safetensors file, to export"


def _image_shape(text: str) -> tuple[int, int, int]:
    """H,W,C"""
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        height = width = channels = 0
    if min(height, width, channels) < 1:
        raise UserError(f"--input={text} must be height,width,channels, as 224,224,3")
    return height, width, channels


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are UserErrors: one line, exit code 1."""

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="jaxcnn",
        description="Train convolutional image classifiers with JAX and Flax.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, description: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=description, description=description, allow_abbrev=False
        )
        sub.set_defaults(command=function, prog=sub.prog)
        return sub

    def takes_config(sub: argparse.ArgumentParser, required: bool = True) -> None:
        sub.set_defaults(override_prefix="--config.")
        sub.add_argument("--config", required=required, metavar="FILE", help="a file of configs/")
        sub.add_argument(
            "--config.KEY",
            dest="_",
            metavar="VALUE",
            help="changes one setting, e.g. --config.optimizer.learning_rate=0.1",
        )

    def takes_model_settings(sub: argparse.ArgumentParser) -> None:
        sub.set_defaults(override_prefix="--model.")
        sub.add_argument(
            "--model.KEY",
            dest="_",
            metavar="VALUE",
            help="changes one of its settings, e.g. --model.stem=cifar",
        )
        sub.add_argument(
            "--input",
            type=_image_shape,
            metavar="H,W,C",
            help="the images' size (default: what the model was published for)",
        )

    def takes_run(sub: argparse.ArgumentParser, required: bool = True) -> None:
        sub.add_argument("--workdir", required=required, metavar="DIR", help="the run's directory")
        sub.add_argument("--checkpoint", metavar="WHICH", help="best (default), latest or a step")

    sub = command("train", run.train, "train from a config file, or resume the run in the workdir")
    takes_config(sub)
    sub.add_argument("--workdir", required=True, metavar="DIR", help="where everything goes")
    sub.add_argument(
        "--overwrite",
        action="store_true",
        help="remove the run that is there first",
    )

    sub = command(
        "eval", run.evaluate, "evaluate a run, or a config's init_from, on a split of its data"
    )
    takes_run(sub, required=False)
    takes_config(sub, required=False)
    sub.add_argument("--split", default="test", help="train, validation or test (default)")
    sub.add_argument(
        "--tta",
        default="",
        metavar="VIEWS",
        help="averages the class probabilities of center_crop, ten_crop or multi_scale views",
    )

    sub = command("predict", run.predict, "classify image files: the five likeliest classes")
    takes_run(sub)
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="a .jpg or .png file")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "show-batch",
        run.show_batch,
        "draw training images, and what augmentation makes of them",
    )
    takes_config(sub)
    sub.add_argument("--out", default="batch.png", metavar="FILE", help="default: batch.png")
    sub.add_argument(
        "--count", type=int, help="how many images (default: 8, or 32 without augmentation)"
    )

    sub = command("plot-schedule", run.plot_schedule, "draw the learning rate of a run to come")
    takes_config(sub)
    sub.add_argument("--out", default="schedule.png", metavar="FILE", help="default: schedule.png")

    for name, function in (("optimizers", run.optimizers), ("schedules", run.schedules)):
        sub = command(name, function, f"list the {name}: definition, source, settings")
        sub.add_argument("pattern", nargs="?", default="*", help="a shell pattern, e.g. 'ada*'")
        sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("models", run.models, "list the models; of one, its settings")
    sub.add_argument("pattern", nargs="?", default="*", help="a shell pattern, e.g. 'resnet*'")
    sub.add_argument("--json", action="store_true", help="print JSON, with parameter counts")

    sub = command(
        "summary", run.summary, "a model layer by layer: sizes, parameters, receptive fields"
    )
    sub.add_argument("model", metavar="MODEL", help="one of jaxcnn models")
    takes_model_settings(sub)
    sub.add_argument("--num-classes", type=int, metavar="N", help="default: as published")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("convert", run.convert, "weights from torch's files, and back")
    sub.add_argument("--from", dest="source", required=True, metavar="FILE|DIR", help=_FROM_HELP)
    sub.add_argument("--to", required=True, metavar="DIR|FILE", help=_TO_HELP)
    sub.add_argument("--model", metavar="NAME", help="the model that the file holds")
    takes_model_settings(sub)
    sub.add_argument(
        "--no-strict",
        dest="strict",
        action="store_false",
        help="leave out surplus tensors, and initialise what is missing",
    )

    arguments, rest = parser.parse_known_args(argv)
    arguments.overrides = _overrides(rest, arguments, commands.choices)
    return arguments


def _overrides(rest: list[str], arguments: argparse.Namespace, commands: dict) -> dict[str, str]:
    """{dotted key: text} of the --config.a.b=value among the arguments that argparse left."""
    overrides = {}
    prefix = getattr(arguments, "override_prefix", None)
    words = iter(rest)
    for word in words:
        flag, equals, value = word.partition("=")
        if not (prefix and flag.startswith(prefix)):
            known = commands[arguments.prog.split()[-1]]._option_string_actions
            raise UserError(
                f"unknown argument {word}; "
                f"{suggestion(flag, [option for option in known if option.startswith('--')])}"
            )
        if not equals:
            value = next(words, None)
            if value is None:
                raise UserError(f"{flag} needs a value: {flag}=VALUE")
        overrides[flag.removeprefix(prefix)] = value
    return overrides
