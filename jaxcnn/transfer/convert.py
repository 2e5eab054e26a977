"""Converts weights from a torch file or a repository to jaxcnn's, and exports them to a file."""

from collections.abc import Mapping
from pathlib import Path

import jax
from safetensors.numpy import save

from jaxcnn.errors import UserError
from jaxcnn.files import write_bytes
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.fit import check_fits
from jaxcnn.models.registry import MODELS, create_model
from jaxcnn.transfer.about import from_metadata, to_metadata
from jaxcnn.transfer.adopt import Weights
from jaxcnn.transfer.converted import refuse_existing, save_converted
from jaxcnn.transfer.entries import Contents, choose
from jaxcnn.transfer.hub import Repository
from jaxcnn.transfer.state_dict import (
    Matching,
    from_state_dict,
    num_classes_of,
    tensor_names,
    to_state_dict,
)
from jaxcnn.transfer.torch_names import common_spelling
from jaxcnn.transfer.weight_files import as_arrays, read_weights


def import_weights(
    name: str,
    source: str | Path | Repository,
    directory: str | Path,
    image_shape: tuple[int, int, int],
    fields: Mapping,
    classes_if_missing: int | None = None,
    entry: str = "",
) -> tuple[Classifier, list[str]]:
    """Reads a torch state dict and writes the model and its variables to a new directory.

    Args:
      name: the model; `fields` are its settings that differ from the defaults. The number of
        classes is that of the file's head; the model has auxiliary heads if the file does.
      source: a `.safetensors` or torch file, with torchvision's names (timm's for what torchvision
        lacks), under any common prefix and in any entry of a checkpoint; or a repository with one.
      image_shape: (height, width, channels) of the model's images.
      classes_if_missing: if None, tensors and variables must match one to one. Otherwise surplus
        tensors are ignored, missing ones are initialised (seed 0), and a missing head gets this many
        classes.
      entry: the dotted path of the checkpoint entry to read; '' for the one that fits.

    Returns:
      The model, and log lines that say what was read, missing or left out.

    Raises:
      UserError: the file cannot be read or is not this model's, or the directory already exists.
    """
    refuse_existing(directory)
    weights, fields, said = read_model(name, source, image_shape, fields, classes_if_missing, entry)
    origin = source.address if isinstance(source, Repository) else Path(source).name
    classes = weights.model.num_classes
    save_converted(directory, name, classes, fields, weights.variables, origin, weights.about)
    return weights.model, said


def read_model(
    name: str,
    source: str | Path | Repository,
    image_shape: tuple[int, int, int],
    fields: Mapping,
    classes_if_missing: int | None = None,
    entry: str = "",
) -> tuple[Weights, dict, list[str]]:
    """Like `import_weights`, without writing.

    Returns:
      The model with its variables, its settings that differ from the defaults, and the log lines.
    """
    model = create_model(name, num_classes=1, **fields)
    check_fits(name, model, image_shape, "input sets the shape of the model's images")
    if isinstance(source, Repository):
        contents, about, source = source.contents, dict(source.about), source.address
    else:
        contents = read_weights(source)
        source = str(source)
        about = from_metadata(contents.metadata, source)
    tensors, fields, said = _tensors_of(contents, name, fields, image_shape, source, entry)
    num_classes = num_classes_of(model, tensors) or classes_if_missing
    if num_classes is None:
        raise UserError(f"{source} is not a {name}: it has no head by that model's name for it")
    model = create_model(name, num_classes=num_classes, **fields)
    strict = classes_if_missing is None
    variables, matching = from_state_dict(model, tensors, image_shape, source, strict)
    said += _said_of(matching, source)
    if (made_for := about.pop("model", name)) != name:
        said.append(f"note: {source} says that it is a {made_for}, not a {name}")
    if len(about.get("class_names", ())) not in (0, num_classes):
        said.append(f"left out: the names of {len(about.pop('class_names'))} classes")
    names = tuple(about["class_names"]) if about.get("class_names") else None
    return Weights(model, variables, names, {**about, "model": name}), fields, said


def model_of(repository: Repository) -> str:
    """The name of the model that a repository says it is.

    Raises:
      UserError: it does not say, or there is no such model.
    """
    name = repository.about.get("model")
    if name in MODELS.names():
        return name
    kind = f"is a {name}, which is no model of jaxcnn's" if name else "does not say its model"
    raise UserError(
        f"{repository.address} {kind}; jaxcnn convert --from={repository.address} --model=NAME reads "
        "it as one with the same tensors (jaxcnn models lists all)"
    )


def _tensors_of(
    contents: Contents, name: str, fields: Mapping, image_shape: tuple, source: str, entry: str
) -> tuple[dict, dict, list[str]]:
    """The model's tensors, its settings (with auxiliary heads if the file has them), and log lines."""
    model = create_model(name, num_classes=1, **fields)
    names = all_names = tensor_names(model, image_shape)
    with_heads = {"aux_heads": True, **fields} if "aux_heads" in MODELS.settings(name) else fields
    if with_heads != fields:
        all_names = tensor_names(create_model(name, num_classes=1, **with_heads), image_shape)

    tensors, said = choose(
        contents, lambda found: common_spelling(model, found) in all_names, source, entry
    )
    if not tensors:
        found = ", ".join([n for held in contents.entries.values() for n in held][:3]) or "none"
        raise UserError(
            f"{source} holds no tensor of a {name}: the first of its names are {found}, and "
            f"those of a {name} are {', '.join(sorted(names)[:3])}"
        )
    has_heads = any(common_spelling(model, found) in all_names - names for found in tensors)
    if has_heads:
        said.append("auxiliary heads: the file has them, and so does the model")
    return as_arrays(tensors, source), dict(with_heads if has_heads else fields), said


def _said_of(matching: Matching, source: str) -> list[str]:
    said = [f"missing, initialised: {name}" for name in matching.missing]
    said += [f"left out: {name}" for name in matching.surplus]
    said += [f"WARNING: {name} holds NaN or infinity" for name in matching.not_finite]
    count = f"{matching.matched} of {matching.expected} tensors"
    said.append(f"{count} come from {source}")
    if matching.share < 0.5:
        said.append(
            f"WARNING: only {count}, {matching.share:.1%} of the numbers, come from {source}; the "
            "rest is random"
        )
    return said


def export_weights(
    model: Classifier, variables: Mapping, target: str | Path, about: Mapping | None = None
) -> int:
    """Writes a `.safetensors` file with torch's names and layouts; returns the number of tensors.

    Args:
      about: what goes into the file's metadata: the model's name and the `about.ABOUT` fields.

    Raises:
      UserError: torch has no names for this model's weights, or the file cannot be written.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise UserError(f"to={target} must end in .safetensors")
    tensors = to_state_dict(model, jax.device_get(variables))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, save(tensors, to_metadata(about or {})))
    except OSError as error:
        raise UserError(f"to={target} cannot be written: {error.strerror}") from error
    return len(tensors)
