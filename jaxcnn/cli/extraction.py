"""jaxcnn export, features and neighbours: what is taken out of a trained network."""

import argparse
from pathlib import Path

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_run
from jaxcnn.cli.pictures import require_png, takes_out
from jaxcnn.cli.runs import image_files, load_run_of
from jaxcnn.errors import UserError


def add_commands(commands) -> None:
    parser = add_command(
        commands,
        "export",
        _export,
        "write the network of a run as one file that needs JAX alone, or onnxruntime alone",
    )
    takes_run(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="FILE",
        type=path_of("--to"),
        help="e.g. digits.stablehlo, or digits.onnx",
    )
    parser.add_argument(
        "--preprocessing", action="store_true", help="let it take pixels, not normalised images"
    )

    parser = add_command(
        commands, "features", _features, "write the features of a run's images to an .npz file"
    )
    takes_run(parser)
    parser.add_argument("--split", default="test", help="train, validation or test (default)")
    parser.add_argument(
        "--layer",
        default="pre_logits",
        help="stem, stage1, … (default: pre_logits, before the head)",
    )
    parser.add_argument("--to", required=True, metavar="FILE", type=path_of("--to"))

    parser = add_command(
        commands,
        "neighbours",
        _neighbours,
        "draw the images of a run's data whose features are nearest to those of given images",
    )
    takes_run(parser)
    parser.add_argument(
        "images", nargs="+", type=path_of("IMAGE"), metavar="IMAGE", help="as jaxcnn predict takes"
    )
    parser.add_argument("--split", default="train", help="train (default), validation or test")
    parser.add_argument("--count", type=int, default=8, help="neighbours of each (default: 8)")
    takes_out(parser, "neighbours.png")


def _features(arguments: argparse.Namespace) -> None:
    import numpy as np

    from jaxcnn.files import asked_for
    from jaxcnn.train.extraction import features_of_split

    target = Path(arguments.to)
    refuse(target.suffix != ".npz", f"--to={target} must end in .npz")
    run = load_run_of(arguments)
    dataset = run.dataset(arguments.split, {})
    found = features_of_split(run, dataset, arguments.split, arguments.layer)
    labels, targets = np.asarray(dataset.splits[arguments.split].labels), run.spec.targets
    if targets:  # in the unit of the data
        labels = labels * targets.std + targets.mean
    names = np.array(run.spec.class_names, str)
    with asked_for("to", target) as partial, partial.open("wb") as file:
        np.savez(file, features=found, labels=labels, class_names=names)
    shape = "×".join(map(str, found.shape[1:]))
    print(f"{arguments.layer} of {len(found):,} {arguments.split} images, {shape} each: {target}")


def _neighbours(arguments: argparse.Namespace) -> None:
    from jaxcnn.diagnose.neighbours import neighbours_of
    from jaxcnn.plots.saving import save

    require_png(arguments.out)
    refuse(arguments.count < 1, f"--count={arguments.count} must be at least 1")
    run, paths = load_run_of(arguments), image_files(arguments.images)
    figure = neighbours_of(run, paths, arguments.split, arguments.count)
    save(figure, arguments.out)
    count = min(arguments.count, run.spec.sizes[arguments.split])
    print(f"{len(paths)} image(s), {count} neighbours of each: {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    from jaxcnn.files import asked_for
    from jaxcnn.train.exporting import description, exported
    from jaxcnn.train.onnx import exported_to_onnx

    target = Path(arguments.to)
    formats = (".stablehlo", ".onnx")
    refuse(target.suffix not in formats, f"--to={target} must end in .stablehlo or .onnx")
    run = load_run_of(arguments)
    network = run.model, run.variables, run.spec, arguments.preprocessing
    if target.suffix == ".stablehlo":
        content = exported(*network)
    else:
        try:
            content, difference = exported_to_onnx(*network)
        except UserError as error:
            works = target.with_suffix(".stablehlo")
            raise UserError(f"--to={target}: {error}; --to={works} works") from error
        print(f"onnxruntime gives the run's outputs, to {difference:.1e} of the largest")
    with asked_for("to", target) as partial:
        partial.write_bytes(content)
    described = target.with_name(f"{target.name}.json")
    with asked_for("to", described) as partial:
        partial.write_bytes(description(run, arguments.preprocessing).encode())
    print(f"{run.config.model.name}, step {run.step:,}: {target} ({len(content) / 1e6:.2f} MB)")
    print(f"classes, normalisation: {described}")
