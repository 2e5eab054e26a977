"""jaxcnn models, summary and convert: commands on models, without a run."""

import argparse
import json
from pathlib import Path

from jaxcnn.cli.flags import (
    add_command,
    import_named,
    model_fields,
    path_of,
    refuse,
    takes_imports,
    takes_model_settings,
    takes_pattern,
)
from jaxcnn.cli.pictures import require_png
from jaxcnn.errors import UserError, closest
from jaxcnn.files import usable_path
from jaxcnn.limits import PATH_OR_HUB, check

_FROM_HELP = (
    "a .pth or .safetensors file with torchvision's names, a repository hf://OWNER/REPO with one, or a "
    "directory to export"
)
_TO_HELP = "a new directory, or a .safetensors file to export to"


def add_commands(commands) -> None:
    parser = add_command(
        commands, "models", _models, "list the models; if only one matches, its settings"
    )
    takes_pattern(parser, "resnet*")
    parser.add_argument("--json", action="store_true", help="print JSON, with parameter counts")
    takes_imports(parser)

    parser = add_command(
        commands,
        "summary",
        _summary,
        "describe a model layer by layer: shapes, parameters, receptive fields",
    )
    parser.add_argument("model", metavar="MODEL", help="a model name (see jaxcnn models)")
    takes_model_settings(parser)
    parser.add_argument("--num-classes", type=int, metavar="N", help="default: as published")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--receptive_fields",
        type=path_of("--receptive_fields"),
        metavar="FILE",
        help="draw them over an image, as a .png file",
    )
    parser.add_argument(
        "--image", type=path_of("--image"), metavar="FILE", help="that image (default: squares)"
    )
    takes_imports(parser)

    parser = add_command(commands, "convert", _convert, "convert weights from and to torch files")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        type=_source,
        metavar="FILE|HUB|DIR",
        help=_FROM_HELP,
    )
    parser.add_argument(
        "--to", required=True, type=path_of("--to"), metavar="DIR|FILE", help=_TO_HELP
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the model whose weights the file contains (default: as a repository says)",
    )
    takes_model_settings(parser)
    parser.add_argument(
        "--no-strict",
        dest="strict",
        action="store_false",
        help="leave out extra tensors, say which, and initialise missing ones",
    )
    parser.add_argument(
        "--entry",
        default="",
        metavar="PATH",
        help="the entry of a checkpoint to read, e.g. state_dict_ema",
    )
    takes_imports(parser)


def _models(arguments: argparse.Namespace) -> None:
    import_named(arguments)
    from jaxcnn.models import list_models

    names = list_models(arguments.pattern)
    if not names:
        is_pattern = any(sign in arguments.pattern for sign in "*?[")
        near = None if is_pattern else closest(arguments.pattern, list_models())
        hint = f"did you mean '{near}'? " if near else ""
        raise UserError(
            f"no model's name matches {arguments.pattern!r}; {hint}jaxcnn models lists all"
        )
    listed = [_described(name, count=arguments.json) for name in names]
    if arguments.json:
        print(json.dumps(listed, indent=2))
        return
    for model in listed:
        size = "×".join(map(str, model["input"])) if model["input"] else "any size"
        classes = f"{model['num_classes'] or 'any':>6} classes"
        print(f"{model['name']:<26}{size:>11}{classes}  {model['description']}")
    if len(listed) == 1:
        print("\nsettings and their defaults:")
        for setting, default in listed[0]["settings"].items():
            print(f"  {setting:<22}{default!r}")


def _described(name: str, count: bool) -> dict:
    """A model as JSON; with `count`, its parameter count if its image size is known."""
    from jaxcnn.models import MODELS, PUBLISHED_FOR, count_parameters, create_model

    image_shape, classes = PUBLISHED_FOR.get(name, (None, None))
    described = {
        "name": name,
        "input": image_shape and list(image_shape),
        "num_classes": classes,
        "description": MODELS.about(name),
        "settings": MODELS.settings(name),
    }
    if count:
        known = image_shape and create_model(name, num_classes=classes)
        described["parameters"] = count_parameters(known, image_shape) if known else None
    return described


def _summary(arguments: argparse.Namespace) -> None:
    import_named(arguments)
    from jaxcnn.diagnose.summary import summarize
    from jaxcnn.models import create_model
    from jaxcnn.models.fit import check_fits

    fields = model_fields(arguments)
    image_shape, num_classes = _task(arguments)
    if arguments.num_classes is not None:
        num_classes = arguments.num_classes
    drawn = arguments.receptive_fields
    if drawn:
        require_png(drawn, "receptive_fields")
    refuse(arguments.image and not drawn, "--image needs --receptive_fields=FILE")
    refuse(num_classes is None, f"give --num-classes: {arguments.model} has no published number")
    model = create_model(arguments.model, num_classes=num_classes, **fields)
    check_fits(arguments.model, model, image_shape, "--input=H,W,C takes it")
    result = summarize(arguments.model, model, image_shape)
    if drawn:
        from jaxcnn.diagnose.fields import image_for, receptive_fields
        from jaxcnn.plots.saving import save

        image = image_for(image_shape, arguments.image)
        save(receptive_fields(arguments.model, model, image), drawn)
    print(json.dumps(result.to_json(), indent=2) if arguments.json else result.table())


def _task(arguments: argparse.Namespace) -> tuple[tuple[int, int, int], int | None]:
    """The image shape and number of classes of a model: as given, else as published."""
    from jaxcnn.models import PUBLISHED_FOR, published_for

    if arguments.input and arguments.model not in PUBLISHED_FOR:
        return arguments.input, None
    image_shape, num_classes = published_for(arguments.model)
    return arguments.input or image_shape, num_classes


def _source(text: str) -> str:
    """The path or the repository that --from names."""
    check("--from", text, PATH_OR_HUB)
    return text if text.startswith("hf://") else str(usable_path("--from", text))


def _convert(arguments: argparse.Namespace) -> None:
    import_named(arguments)
    from jaxcnn.train.pretrained import load_weights
    from jaxcnn.transfer.convert import export_weights
    from jaxcnn.transfer.hub import on_hub

    if on_hub(arguments.source):
        _import_from_hub(arguments)
        return
    if not Path(arguments.source).exists():
        raise UserError(f"--from={arguments.source}: there is no such file or directory")
    if Path(arguments.source).is_dir():
        reading = (
            arguments.model
            or arguments.overrides
            or arguments.input
            or arguments.entry
            or not arguments.strict
        )
        refuse(
            reading,
            "--model, --model.KEY, --input, --entry and --no-strict apply only to a weight file, but "
            f"--from={arguments.source} is a directory, which describes its model",
        )
        weights = load_weights(arguments.source)
        count = export_weights(weights.model, weights.variables, arguments.to, weights.about)
        print(f"{count} tensors: {arguments.to}")
        _say_what_torch_lacks(weights.model)
        return
    if not arguments.model:
        raise UserError(f"--from={arguments.source} is a file; give its model with --model=NAME")
    _import(arguments, arguments.source)


def _import_from_hub(arguments: argparse.Namespace) -> None:
    from jaxcnn.transfer.convert import model_of
    from jaxcnn.transfer.converted import refuse_existing
    from jaxcnn.transfer.hub import open_repository

    refuse_existing(arguments.to)
    repository = open_repository(arguments.source)
    for line in repository.said:
        print(line)
    arguments.model = arguments.model or model_of(repository)
    arguments.input = arguments.input or tuple(repository.about.get("image_shape", ()))
    _import(arguments, repository)


def _import(arguments: argparse.Namespace, source) -> None:
    """Converts the weights of a file or a `Repository`."""
    from jaxcnn.transfer.convert import import_weights

    fields = model_fields(arguments)
    image_shape, num_classes = _task(arguments)
    model, said = import_weights(
        arguments.model,
        source,
        arguments.to,
        image_shape,
        fields,
        None if arguments.strict else num_classes,
        arguments.entry,
    )
    for line in said:
        print(line.replace("; entry=", "; --entry="))
    print(f"{arguments.model}, {model.num_classes} classes: {arguments.to}")
    _say_what_torch_lacks(model)


def _say_what_torch_lacks(model) -> None:
    from jaxcnn.transfer.torch_names import not_in_torch

    for setting in not_in_torch(model):
        print(f"note: the torch model with these names computes something else, not {setting}")
