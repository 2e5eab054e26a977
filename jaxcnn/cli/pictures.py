"""jaxcnn show-batch and plot-schedule: previews of a run."""

import argparse
from pathlib import Path

from jaxcnn.cli.flags import add_command, path_of, takes_config
from jaxcnn.errors import UserError


def add_commands(commands) -> None:
    parser = add_command(
        commands,
        "show-batch",
        _show_batch,
        "draw training images before and after augmentation",
    )
    takes_config(parser)
    takes_out(parser, "batch.png")
    parser.add_argument(
        "--count", type=int, help="number of images (default: 8, or 32 without augmentation)"
    )

    parser = add_command(
        commands, "plot-schedule", _plot_schedule, "draw the learning-rate schedule of a run"
    )
    takes_config(parser)
    takes_out(parser, "schedule.png")


def takes_out(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --out."""
    parser.add_argument(
        "--out", default=default, type=path_of("--out"), metavar="FILE", help=f"default: {default}"
    )


def _show_batch(arguments: argparse.Namespace) -> None:
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.pictures import training_images
    from jaxcnn.plots.saving import save
    from jaxcnn.train.experiment import load_config

    if arguments.count is not None and arguments.count < 1:
        raise UserError(f"--count={arguments.count} must be at least 1")
    require_png(arguments.out)
    config = load_config(arguments.config, arguments.overrides)
    dataset = load_dataset(config.data.to_dict())
    names = [entry["name"] for entry in [*config.data.augment, *config.data.mix]]
    count = min(arguments.count or (8 if names else 32), len(dataset.splits["train"]))
    save(training_images(config, dataset, count), arguments.out)
    applied = ", ".join(names) or "no augmentation"
    print(f"{count} training images ({applied}): {arguments.out}")


def _plot_schedule(arguments: argparse.Namespace) -> None:
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.pictures import schedule_plot
    from jaxcnn.layout import Layout
    from jaxcnn.plots.saving import save
    from jaxcnn.train.experiment import Experiment, load_config
    from jaxcnn.train.observers.console import section_in_words

    require_png(arguments.out)
    config = load_config(arguments.config, arguments.overrides)
    spec = load_dataset(config.data.to_dict()).spec
    experiment = Experiment.of(config, spec, Layout.over_all_devices())
    length, heading = experiment.length, section_in_words(config.schedule)
    peak = config.optimizer.learning_rate
    save(schedule_plot(experiment.schedule, length, peak, heading), arguments.out)
    steps = f"{length.steps:,} steps, {length.warmup:,} of them warm-up"
    print(f"{config.schedule.name}, {steps}: {arguments.out}")


def require_png(path: str, flag: str = "out") -> None:
    """Refuses a path that is no PNG file."""
    if Path(path).suffix != ".png":
        raise UserError(f"--{flag}={path} must end in .png")
