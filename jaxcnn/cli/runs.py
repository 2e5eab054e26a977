"""jaxcnn eval and predict: metrics and predictions of a trained run."""

import argparse
import csv
import glob
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_config, takes_run
from jaxcnn.errors import UserError
from jaxcnn.files import usable_path

log = logging.getLogger(__name__)


def add_commands(commands) -> None:
    parser = add_command(
        commands,
        "eval",
        _evaluate,
        "evaluate a run, or the weights of a config's init_from, on a split of its data",
    )
    takes_run(parser, required=False)
    takes_config(parser, required=False)
    parser.add_argument("--split", default="test", help="train, validation or test (default)")
    parser.add_argument(
        "--data",
        type=path_of("--data"),
        metavar="FOLDER",
        help="other images than the run's: prepared as the run's, classes matched by name",
    )
    parser.add_argument(
        "--ensemble",
        default="",
        metavar="DIR,DIR,…",
        help="instead of --workdir: average the class probabilities of several runs",
    )
    parser.add_argument(
        "--snapshots", type=int, metavar="K", help="average those of the run's last K snapshots"
    )
    parser.add_argument(
        "--per_class",
        action="store_true",
        help="each class's accuracy, precision and commonest mistake; the balanced accuracy",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--tta",
        default="",
        metavar="VIEWS",
        help="average the class probabilities over center_crop, ten_crop or multi_scale views",
    )

    parser = add_command(
        commands, "predict", _predict, "predict the five most likely classes of image files"
    )
    takes_run(parser)
    parser.add_argument(
        "images",
        nargs="+",
        type=path_of("IMAGE"),
        metavar="IMAGE",
        help="an image file, a folder of them, or a pattern such as 'photos/**/*.jpg'",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")


def _evaluate(arguments: argparse.Namespace) -> None:
    if bool(arguments.workdir) + bool(arguments.config) + bool(arguments.ensemble) != 1:
        raise UserError(
            "give --workdir=DIR for a run, --ensemble=DIR,DIR for several, or --config=FILE "
            "--config.init_from=DIR for weights"
        )
    if arguments.ensemble or arguments.snapshots is not None:
        _evaluate_ensemble(arguments)
        return
    if arguments.per_class:
        refuse(not arguments.workdir, "--per_class needs --workdir=DIR")
    for flag in ("data", "tta") if arguments.per_class else ():
        refuse(getattr(arguments, flag), f"--{flag} does not go with --per_class")
    refuse(arguments.config and arguments.checkpoint, "--checkpoint needs --workdir=DIR")
    refuse(arguments.config and arguments.data, "--data needs --workdir=DIR")
    refuse(arguments.overrides and arguments.data, "--data is for other images than the run's")
    described = {"data": arguments.data} if arguments.data else {"split": arguments.split}
    if arguments.workdir:
        run = load_run_of(arguments)
        of_data = arguments.data or "", arguments.overrides
        metrics = run.evaluate(arguments.split, arguments.tta, *of_data)
        described["step"] = run.step
        label = f"{arguments.data or arguments.split} (step {run.step})"
    else:
        from jaxcnn import runtime
        from jaxcnn.train.experiment import load_config
        from jaxcnn.train.pretrained import evaluate_pretrained

        config = load_config(arguments.config, arguments.overrides)
        runtime.prepare()
        metrics = evaluate_pretrained(config, arguments.split, arguments.tta)
        label = arguments.split
    if arguments.per_class:
        from jaxcnn.train.confusion import confusion_of

        confusion = confusion_of(run, arguments.split, arguments.overrides)
    if arguments.json:
        per_class = confusion.to_json() if arguments.per_class else {}
        print(json.dumps({**described, **metrics, **per_class}, indent=2, allow_nan=False))
        return
    print(metrics_table({label: metrics}))
    if arguments.per_class:
        print(f"\n{confusion.table()}")


def _evaluate_ensemble(arguments: argparse.Namespace) -> None:
    from jaxcnn import runtime
    from jaxcnn.train.ensemble import evaluate_ensemble, load_snapshots
    from jaxcnn.train.saved_run import load_run

    count, workdirs = arguments.snapshots, list(filter(None, arguments.ensemble.split(",")))
    for flag in ("data", "tta", "config", "per_class") + (
        ("checkpoint",) if count is not None else ()
    ):
        refuse(getattr(arguments, flag), f"--{flag} does not go with an ensemble")
    refuse(workdirs and count is not None, "--snapshots needs --workdir=DIR")
    refuse(len(workdirs) == 1, f"--ensemble={arguments.ensemble} must name two runs or more")
    refuse(count is not None and count < 2, f"--snapshots={count} must be at least 2")
    runtime.prepare()
    if workdirs:
        paths = [str(usable_path("ensemble", path)) for path in workdirs]
        runs = [load_run(path, arguments.checkpoint or "best") for path in paths]
    else:
        runs = load_snapshots(arguments.workdir, count)
        paths = [arguments.workdir] * count
    together, each = evaluate_ensemble(runs, arguments.split, arguments.overrides)
    if arguments.json:
        members = [
            {"workdir": path, "step": run.step, **metrics}
            for path, run, metrics in zip(paths, runs, each, strict=True)
        ]
        said = {"split": arguments.split, **together, "members": members}
        print(json.dumps(said, indent=2, allow_nan=False))
        return
    rows = {
        f"{path} (step {run.step})": metrics
        for path, run, metrics in zip(paths, runs, each, strict=True)
    }
    print(metrics_table({**rows, f"{arguments.split}, ensemble of {len(runs)}": together}))


def _predict(arguments: argparse.Namespace) -> None:
    run, paths = load_run_of(arguments), image_files(arguments.images)
    row, unreadable = csv.writer(sys.stdout), []
    entries = []
    if arguments.csv:
        numbers = range(1, 1 + (run.spec.outputs if run.spec.targets else min(5, run.spec.outputs)))
        names = ("prediction",) if run.spec.targets else ("class", "probability")
        row.writerow(["image", *(f"{name}_{i}" for i in numbers for name in names), "error"])
    for path, answer in run.each_prediction(paths):
        if isinstance(answer, UserError):
            unreadable.append(path)
            if len(paths) == 1:
                raise answer
            log.warning("%s", answer)
        entry = _entry(path, answer, run.spec)
        if arguments.json:
            entries.append(entry)
        elif arguments.csv:
            row.writerow(_row(entry, len(numbers) * len(names)))
        elif "error" not in entry:
            print(_in_words(entry))
    if arguments.json:
        print(json.dumps(entries, indent=2))
    if unreadable:
        raise UserError(f"{len(unreadable)} of {len(paths)} images cannot be read; see above")


def image_files(given: Sequence[str]) -> list[str]:
    """The files that paths, folders and patterns name, in order; of a folder, all images below it.

    Raises:
      UserError: a folder has no image, or a pattern matches no file.
    """
    from jaxcnn.data.sources.headers import EXTENSIONS

    files: list[str] = []
    for path in given:
        if Path(path).is_dir():
            below = (each for each in Path(path).rglob("*") if each.suffix.lower() in EXTENSIONS)
            found = sorted(str(each) for each in below if each.is_file())
            refuse(not found, f"IMAGE={path} is a folder without {', '.join(EXTENSIONS)} files")
        elif not Path(path).exists() and glob.has_magic(path):
            found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
            refuse(not found, f"IMAGE={path} matches no file")
        else:
            found = [path]
        files += found
    return files


def _entry(path: str, answer: Any, spec: Any) -> dict:
    """A prediction as it goes to JSON."""
    if isinstance(answer, UserError):
        return {"image": path, "error": str(answer)}
    if spec.targets:
        return {"image": path, "prediction": answer.tolist()}
    top = [
        {"class": spec.class_names[i], "probability": float(answer[i])}
        for i in answer.argsort()[::-1][:5]
    ]
    return {"image": path, "top5": top}


def _row(entry: dict, width: int) -> list:
    """A prediction as a line of CSV, with so many cells between the image and the error."""
    if "error" in entry:
        return [entry["image"], *[""] * width, entry["error"]]
    import numpy as np

    cells = np.ravel(entry.get("prediction", ())).tolist()
    for guess in entry.get("top5", ()):
        cells += [guess["class"], guess["probability"]]
    return [entry["image"], *cells, ""]


def _in_words(entry: dict) -> str:
    import numpy as np

    lines = [entry["image"]]
    if "prediction" in entry:
        lines.append(f"  {np.array2string(np.array(entry['prediction']), precision=4)}")
    lines += [f"  {guess['probability']:8.2%}  {guess['class']}" for guess in entry.get("top5", ())]
    return "\n".join(lines)


def load_run_of(arguments: argparse.Namespace):
    """The run that --workdir and --checkpoint name."""
    from jaxcnn import runtime
    from jaxcnn.train.saved_run import load_run

    runtime.prepare()
    checkpoint = "best" if arguments.checkpoint is None else arguments.checkpoint
    return load_run(arguments.workdir, checkpoint)


def metrics_table(rows: dict[str, dict]) -> str:
    """A table with a header and one line of metrics for each label."""
    columns = {
        "accuracy": ("accuracy", "10.2%"),
        "top5_accuracy": ("top-5", "10.2%"),
        "mae": ("mae", "10.4f"),
        "loss": ("loss", "10.4f"),
        "count": ("images", "10,"),
    }
    first = next(iter(rows.values()))
    shown = {key: column for key, column in columns.items() if key in first}
    lines = ["".join([" " * 32, *(f"{header:>10}" for header, _ in shown.values())])]
    for label, metrics in rows.items():
        numbers = [f"{metrics[key]:>{form}}" for key, (_, form) in shown.items()]
        lines.append("".join([f"{label:<32}", *numbers]))
    return "\n".join(lines)
