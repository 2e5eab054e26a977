"""jaxcnn show-batch, plot-schedule and paths: pictures that need no run."""

import argparse
from pathlib import Path

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_config
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

    parser = add_command(
        commands,
        "paths",
        _paths,
        "draw the paths of optimizers on a function of two numbers, still or as an animation",
    )
    parser.set_defaults(override_prefix="--optimizer.")
    parser.add_argument(
        "--function", default="beale", help="ravine, saddle, beale (default) or rosenbrock"
    )
    parser.add_argument(
        "--optimizers",
        default="sgd,momentum,adam",
        metavar="NAME,…",
        help="at most seven (default: sgd,momentum,adam); jaxcnn optimizers lists them",
    )
    parser.add_argument(
        "--optimizer.NAME.KEY",
        dest="_",
        metavar="VALUE",
        help="change one setting, e.g. --optimizer.sgd.learning_rate=0.1 (default: the best rate)",
    )
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="default: 200")
    takes_out(parser, "paths.png")


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


def _paths(arguments: argparse.Namespace) -> None:
    from jaxcnn import runtime
    from jaxcnn.diagnose.paths import paths_on, picture_of, rule_in_words
    from jaxcnn.diagnose.surfaces import SURFACES
    from jaxcnn.errors import check_choice
    from jaxcnn.plots.paths import COLOURS, FRAMES_PER_SECOND, frames_of
    from jaxcnn.plots.saving import save, save_animation

    function, steps, out = arguments.function, arguments.steps, arguments.out
    check_choice("--function", function, SURFACES)
    refuse(not 1 <= steps <= 10_000, f"--steps={steps} must be at least 1 and at most 10,000")
    refuse(Path(out).suffix not in (".png", ".gif"), f"--out={out} must end in .png or .gif")
    names, most = arguments.optimizers.split(","), len(COLOURS)
    refuse(len(names) > most, f"--optimizers={arguments.optimizers}: at most {most} can be drawn")
    runtime.prepare()
    surface = SURFACES[function]
    paths = paths_on(surface, names, arguments.overrides, steps)
    figure, show = picture_of(surface, paths)
    if out.endswith(".gif"):
        save_animation(figure, show, frames_of(steps), out, FRAMES_PER_SECOND)
    else:
        save(figure, out)
    print(f"{function}, {steps:,} steps, {rule_in_words(paths) or 'at the given rates'}")
    width = max(map(len, names)) + 2
    for path in paths:
        print(f"{path.optimizer:<{width}}{path.rate_in_words:<22}{path.outcome}")
    print(f"picture: {out}")


def require_png(path: str, flag: str = "out") -> None:
    """Refuses a path that is no PNG file."""
    if Path(path).suffix != ".png":
        raise UserError(f"--{flag}={path} must end in .png")
