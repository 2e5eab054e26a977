"""jaxcnn eval and predict: metrics and predictions of a trained run."""

import argparse
import json

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_config, takes_run
from jaxcnn.errors import UserError


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
        "images", nargs="+", type=path_of("IMAGE"), metavar="IMAGE", help="a .jpg or .png file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _evaluate(arguments: argparse.Namespace) -> None:
    if bool(arguments.workdir) == bool(arguments.config):
        raise UserError(
            "give --workdir=DIR for a run, or --config=FILE --config.init_from=DIR for weights"
        )
    refuse(arguments.config and arguments.checkpoint, "--checkpoint needs --workdir=DIR")
    refuse(arguments.config and arguments.data, "--data needs --workdir=DIR")
    refuse(arguments.overrides and arguments.data, "--data is for other images than the run's")
    described = {"data": arguments.data} if arguments.data else {"split": arguments.split}
    if arguments.workdir:
        run = _load_run(arguments)
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
    if arguments.json:
        print(json.dumps({**described, **metrics}, indent=2, allow_nan=False))
    else:
        print(metrics_table({label: metrics}))


def _predict(arguments: argparse.Namespace) -> None:
    import numpy as np

    run = _load_run(arguments)
    answers = []
    for path, probabilities in zip(
        arguments.images, run.predict_files(arguments.images), strict=True
    ):
        if run.spec.targets:
            answers.append({"image": path, "prediction": probabilities.tolist()})
            continue
        top = probabilities.argsort()[::-1][:5]
        classes = [
            {"class": run.spec.class_names[i], "probability": float(probabilities[i])} for i in top
        ]
        answers.append({"image": path, "top5": classes})
    if arguments.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(answer["image"])
        if run.spec.targets:
            print(f"  {np.array2string(np.array(answer['prediction']), precision=4)}")
        for guess in answer.get("top5", ()):
            print(f"  {guess['probability']:8.2%}  {guess['class']}")


def _load_run(arguments: argparse.Namespace):
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
