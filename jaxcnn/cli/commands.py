"""What each command does: one thin function per command, and what it prints."""

import argparse
import fnmatch
import json
import os
import shutil
import signal
import sys
import textwrap
from pathlib import Path

from jaxcnn.errors import UserError, suggestion

# Preempted and resumable: EX_TEMPFAIL of sysexits.h, upon which schedulers start a job again.
PREEMPTED = 75


def train(arguments: argparse.Namespace) -> int:
    again = (
        "the same command" + (", without --overwrite," if arguments.overwrite else "") + " goes on"
    )

    said = f"stopped by a signal outside the training loop; {again}\n".encode()

    def stop(*_) -> None:  # before and after the loop, which has a handler of its own
        # No exception: one that is raised while a destructor or a library's callback runs is
        # swallowed there, and the run would go on. Nothing needs tidying that a kill would not.
        os.write(1, said)
        os._exit(PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    from jaxcnn import runtime
    from jaxcnn.train.experiment import load_config
    from jaxcnn.train.loop import train  # the slow part of the start

    config = load_config(arguments.config, arguments.overrides)
    runtime.prepare()
    result = train(config, arguments.workdir, overwrite=arguments.overwrite)
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
    print(_metrics_table({label: metrics}))


def predict(arguments: argparse.Namespace) -> None:
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


def show_batch(arguments: argparse.Namespace) -> None:
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.pictures import save, training_images
    from jaxcnn.train.experiment import load_config

    if arguments.count is not None and arguments.count < 1:
        raise UserError(f"--count={arguments.count} must be at least 1")
    _require_png(arguments.out)
    config = load_config(arguments.config, arguments.overrides)
    dataset = load_dataset(config.data.to_dict())
    names = [entry["name"] for entry in [*config.data.augment, *config.data.mix]]
    count = min(arguments.count or (8 if names else 32), len(dataset.splits["train"]))
    save(training_images(config, dataset, count), arguments.out)
    applied = ", ".join(names) or "no augmentation"
    print(f"{count} training images ({applied}): {arguments.out}")


def plot_schedule(arguments: argparse.Namespace) -> None:
    from jaxcnn.data.dataset import load_dataset
    from jaxcnn.diagnose.pictures import save, schedule_plot
    from jaxcnn.durations import RunLength
    from jaxcnn.optim.chain import check_momentum
    from jaxcnn.optim.schedules import create_schedule
    from jaxcnn.train.experiment import load_config
    from jaxcnn.train.observers.console import section_in_words

    _require_png(arguments.out)
    config = load_config(arguments.config, arguments.overrides)
    length = RunLength.of(config, len(load_dataset(config.data.to_dict()).splits["train"]))
    schedule = create_schedule(config.schedule.to_dict(), length)
    check_momentum(config.optimizer.to_dict(), schedule)
    heading = section_in_words(config.schedule)
    save(schedule_plot(schedule, length, config.optimizer.learning_rate, heading), arguments.out)
    steps = f"{length.steps:,} steps, {length.warmup:,} of them warm-up"
    print(f"{config.schedule.name}, {steps}: {arguments.out}")


def optimizers(arguments: argparse.Namespace) -> None:
    from jaxcnn.optim.optimizers import OPTIMIZERS

    _list(OPTIMIZERS, arguments)


def schedules(arguments: argparse.Namespace) -> None:
    from jaxcnn.optim.schedules import SCHEDULES

    _list(SCHEDULES, arguments)


def _list(registry, arguments: argparse.Namespace) -> None:
    """The entries of a registry whose name matches: what each is, its settings and their defaults."""
    names = fnmatch.filter(registry.names(), arguments.pattern)
    if not names:
        raise UserError(
            f"no {registry.kind}'s name matches {arguments.pattern!r}; "
            f"{suggestion(arguments.pattern, registry.names())}"
        )
    if arguments.json:
        listed = [
            {"name": name, "about": registry.about(name), "settings": registry.settings(name)}
            for name in names
        ]
        print(json.dumps(listed, indent=2))
        return
    for name in names:
        print(f"{name:<29}{registry.about(name)}")
        if settings := registry.settings(name):
            line = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            print(textwrap.indent(textwrap.fill(line, 80), " " * 29))


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


def _require_png(path: str) -> None:
    if Path(path).suffix != ".png":
        raise UserError(f"--out={path} must end in .png")


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


def _metrics_table(rows: dict[str, dict]) -> str:
    """A header, and a line for each label's metrics."""
    score, form = ("mae", "10.4f") if "mae" in next(iter(rows.values())) else ("accuracy", "10.2%")
    lines = [f"{'':<32}{score:>10}{'loss':>10}{'images':>10}"]
    lines += [
        f"{label:<32}{metrics[score]:>{form}}{metrics['loss']:>10.4f}{metrics['count']:>10,}"
        for label, metrics in rows.items()
    ]
    return "\n".join(lines)


def _print_result(result: dict, workdir: Path) -> None:
    rows = {
        f"{split}, {which} (step {result[which]['step']})": result[which][split]
        for which in ("best", "final")
        for split in ("validation", "test")
        if split in result[which]
    }
    if rows:
        print(f"\n{_metrics_table(rows)}")
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
