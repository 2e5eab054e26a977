"""What each command does: one thin function per command, and what it prints."""

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from jaxcnn.errors import UserError

# Preempted and resumable: EX_TEMPFAIL of sysexits.h, upon which schedulers start a job again.
PREEMPTED = 75


def train(arguments: argparse.Namespace) -> int:
    again = (
        "the same command" + (", without --overwrite," if arguments.overwrite else "") + " goes on"
    )

    def stop(*_) -> None:  # before and after the loop, which has a handler of its own
        print(f"stopped by a signal outside the training loop; {again}")
        sys.exit(PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    from jaxcnn import runtime
    from jaxcnn.train.experiment import load_config
    from jaxcnn.train.loop import train  # the slow part of the start

    config = load_config(arguments.config, arguments.overrides)
    runtime.prepare()
    result = train(config, arguments.workdir, arguments.overwrite)
    if result["status"] == "preempted":
        print(f"stopped by a signal; saved at step {result['steps']}; {again}")
        return PREEMPTED
    _print_result(result, Path(arguments.workdir))
    return 0


def evaluate(arguments: argparse.Namespace) -> None:
    if bool(arguments.workdir) == bool(arguments.config):
        raise UserError(
            "give --workdir=DIR, a run, or --config=FILE --config.init_from=DIR, weights on its data"
        )
    _refuse(arguments.workdir and arguments.overrides, "--config.KEY=VALUE is for --config=FILE")
    _refuse(arguments.config and arguments.checkpoint, "--checkpoint is for --workdir=DIR")
    if arguments.workdir:
        run = _load_run(arguments)
        metrics, label = run.evaluate(arguments.split), f"{arguments.split} (step {run.step})"
    else:
        from jaxcnn import runtime
        from jaxcnn.train.experiment import load_config
        from jaxcnn.train.pretrained import evaluate_pretrained

        config = load_config(arguments.config, arguments.overrides)
        runtime.prepare()
        metrics, label = evaluate_pretrained(config, arguments.split), arguments.split
    print(_METRICS_HEADER)
    print(_metrics_row(label, metrics))


def predict(arguments: argparse.Namespace) -> None:
    run = _load_run(arguments)
    answers = []
    for path, probabilities in zip(
        arguments.images, run.predict_files(arguments.images), strict=True
    ):
        top = probabilities.argsort()[::-1][:5]
        classes = [
            {"class": run.class_names[i], "probability": float(probabilities[i])} for i in top
        ]
        answers.append({"image": path, "top5": classes})
    if arguments.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(answer["image"])
        for guess in answer["top5"]:
            print(f"  {guess['probability']:8.2%}  {guess['class']}")


def _load_run(arguments: argparse.Namespace):
    from jaxcnn import runtime
    from jaxcnn.train.saved_run import load_run

    runtime.prepare()
    return load_run(arguments.workdir, arguments.checkpoint or "best")


def show_batch(arguments: argparse.Namespace) -> None:
    from jaxcnn.data.augment import create_augmentations
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.data.pipeline import train_batches
    from jaxcnn.diagnose.pictures import contact_sheet, save
    from jaxcnn.train.experiment import load_config

    if arguments.count < 1:
        raise UserError(f"--count={arguments.count} must be at least 1")
    if Path(arguments.out).suffix != ".png":
        raise UserError(f"--out={arguments.out} must end in .png")
    config = load_config(arguments.config, arguments.overrides)
    dataset = load_dataset(config.data.to_dict())
    count = min(arguments.count, len(dataset.splits["train"]))
    augmentations = create_augmentations(config.data.augment)
    batch = next(train_batches(dataset, augmentations, count, config.seed))
    applied = ", ".join(entry["name"] for entry in config.data.augment) or "no augmentation"
    sheet = contact_sheet(batch, dataset.mean, dataset.std, dataset.class_names, applied)
    save(sheet, arguments.out)
    print(f"{count} training images ({applied}): {arguments.out}")


def models(arguments: argparse.Namespace) -> None:
    import inspect

    from jaxcnn.models import MODELS, PUBLISHED_FOR, count_parameters, create_model, list_models

    listed = []
    for name in list_models(arguments.pattern):
        (height, width, channels), classes = PUBLISHED_FOR[name]
        constructor = MODELS[name]
        entry = {
            "name": name,
            "input": [height, width, channels],
            "num_classes": classes,
            "description": inspect.getdoc(_class_of(constructor)).splitlines()[0],
            "settings": MODELS.settings(name),
        }
        if arguments.json:
            model = create_model(name, num_classes=classes)
            entry["parameters"] = count_parameters(model, (height, width, channels))
        listed.append(entry)
    if not listed:
        raise UserError(f"no model's name matches {arguments.pattern!r}; jaxcnn models lists all")
    if arguments.json:
        print(json.dumps(listed, indent=2))
        return
    for entry in listed:
        size = "×".join(map(str, entry["input"]))
        print(
            f"{entry['name']:<26}{size:>11}{entry['num_classes']:>6} classes  {entry['description']}"
        )
    if len(listed) == 1:
        print("\nsettings and their defaults:")
        for setting, default in listed[0]["settings"].items():
            print(f"  {setting:<22}{default!r}")


def summary(arguments: argparse.Namespace) -> None:
    from jaxcnn.diagnose.summary import summarize
    from jaxcnn.models import PUBLISHED_FOR, create_model
    from jaxcnn.models.fit import check_fits

    fields = _model_fields(arguments)
    image_shape, num_classes = PUBLISHED_FOR[arguments.model]
    image_shape = arguments.input or image_shape
    if arguments.num_classes is not None:
        num_classes = arguments.num_classes
    model = create_model(arguments.model, num_classes=num_classes, **fields)
    check_fits(arguments.model, model, image_shape, "--input=H,W,C takes it")
    result = summarize(arguments.model, model, image_shape)
    print(json.dumps(result.to_json(), indent=2) if arguments.json else result.table())


def convert(arguments: argparse.Namespace) -> None:
    from jaxcnn.models import PUBLISHED_FOR
    from jaxcnn.train.pretrained import load_model
    from jaxcnn.transfer.convert import export_weights, import_weights

    if not Path(arguments.source).exists():
        raise UserError(f"--from={arguments.source}: there is no such file or directory")
    if Path(arguments.source).is_dir():
        reading = arguments.model or arguments.overrides or arguments.input or not arguments.strict
        _refuse(
            reading,
            f"--model, --model.KEY, --input and --no-strict are for reading a file; the directory "
            f"--from={arguments.source} says itself what it holds",
        )
        model, variables = load_model(arguments.source)
        count = export_weights(model, variables, arguments.to)
        print(f"{count} tensors: {arguments.to}")
        _say_what_torch_lacks(model)
        return
    if not arguments.model:
        raise UserError(
            f"--from={arguments.source} is a file; say whose weights it has, --model=NAME"
        )
    fields = _model_fields(arguments)
    image_shape, num_classes = PUBLISHED_FOR[arguments.model]
    model, differing = import_weights(
        arguments.model,
        arguments.source,
        arguments.to,
        arguments.input or image_shape,
        fields,
        None if arguments.strict else num_classes,
    )
    for name in differing:
        print(f"not matched: {name}")
    print(f"{arguments.model}, {model.num_classes} classes: {arguments.to}")
    _say_what_torch_lacks(model)


def _say_what_torch_lacks(model) -> None:
    from jaxcnn.transfer.torch_names import not_in_torch

    for setting in not_in_torch(model):
        print(
            f"note: the network that has these names in torch computes something else, not {setting}"
        )


def _refuse(given, message: str) -> None:
    """Raises UserError where something was given that would be ignored."""
    if given:
        raise UserError(message)


def _model_fields(arguments: argparse.Namespace) -> dict:
    """The settings of --model.KEY=VALUE."""
    from jaxcnn.config import resolve_settings
    from jaxcnn.models import MODELS

    return resolve_settings(MODELS, arguments.model, arguments.overrides, "--model")


def _class_of(constructor):
    return getattr(constructor, "func", constructor)


# --- what is printed ----------------------------------------------------------------------------

_METRICS_HEADER = f"{'':<32}{'accuracy':>10}{'loss':>10}{'images':>10}"


def _metrics_row(label: str, metrics: dict) -> str:
    return f"{label:<32}{metrics['accuracy']:>10.2%}{metrics['loss']:>10.4f}{metrics['count']:>10,}"


def _print_result(result: dict, workdir: Path) -> None:
    print(f"\n{_METRICS_HEADER}")
    for which in ("best", "final"):
        for split in ("validation", "test"):
            if split in result[which]:
                label = f"{split}, {which} (step {result[which]['step']})"
                print(_metrics_row(label, result[which][split]))
    print(
        f"\n{result['parameters']:,} parameters, {result['steps']:,} steps, "
        f"{result['images']:,} images in {result['seconds']:.1f} s of training "
        f"({result['images'] / result['seconds']:,.0f} images/s)"
    )
    # Where the environment is not activated, the commands need their path.
    programs = (
        "" if shutil.which("jaxcnn") else os.path.relpath(Path(sys.executable).parent) + os.sep
    )
    print(f"\nworkdir      {workdir}")
    print(f"curves       {workdir / 'plots' / 'curves.png'}")
    print(f"TensorBoard  {programs}tensorboard --logdir {workdir / 'tensorboard'}")
    print(f"try next     {programs}jaxcnn eval --workdir={workdir}")
    print(f"             {programs}jaxcnn predict --workdir={workdir} IMAGE.png")
