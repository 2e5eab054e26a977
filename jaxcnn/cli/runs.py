"""jaxcnn eval and predict: what a run answers."""

import argparse
import json

from jaxcnn.cli.flags import add_command, refuse, takes_config, takes_run
from jaxcnn.errors import UserError


def add_commands(commands) -> None:
    parser = add_command(
        commands,
        "eval",
        _evaluate,
        "evaluate a run, or a config's init_from, on a split of its data",
    )
    takes_run(parser, required=False)
    takes_config(parser, required=False)
    parser.add_argument("--split", default="test", help="train, validation or test (default)")
    parser.add_argument(
        "--tta",
        default="",
        metavar="VIEWS",
        help="averages the class probabilities of center_crop, ten_crop or multi_scale views",
    )

    parser = add_command(
        commands, "predict", _predict, "classify image files: the five likeliest classes"
    )
    takes_run(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a .jpg or .png file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _evaluate(arguments: argparse.Namespace) -> None:
    if bool(arguments.workdir) == bool(arguments.config):
        raise UserError(
            "give --workdir=DIR, a run, or --config=FILE --config.init_from=DIR, weights on its data"
        )
    refuse(arguments.workdir and arguments.overrides, "--config.KEY=VALUE is for --config=FILE")
    refuse(arguments.config and arguments.checkpoint, "--checkpoint is for --workdir=DIR")
    if arguments.workdir:
        run = _load_run(arguments)
        metrics = run.evaluate(arguments.split, arguments.tta)
        label = f"{arguments.split} (step {run.step})"
    else:
        from jaxcnn import runtime
        from jaxcnn.train.experiment import load_config
        from jaxcnn.train.pretrained import evaluate_pretrained

        config = load_config(arguments.config, arguments.overrides)
        runtime.prepare()
        metrics = evaluate_pretrained(config, arguments.split, arguments.tta)
        label = arguments.split
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
    return load_run(arguments.workdir, arguments.checkpoint or "best")


def metrics_table(rows: dict[str, dict]) -> str:
    """A header, and a line for each label's metrics."""
    score, form = ("mae", "10.4f") if "mae" in next(iter(rows.values())) else ("accuracy", "10.2%")
    lines = [f"{'':<32}{score:>10}{'loss':>10}{'images':>10}"]
    lines += [
        f"{label:<32}{metrics[score]:>{form}}{metrics['loss']:>10.4f}{metrics['count']:>10,}"
        for label, metrics in rows.items()
    ]
    return "\n".join(lines)
