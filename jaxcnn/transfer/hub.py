"""Pretrained weights of the Hugging Face Hub, `hf://OWNER/REPO`, through the package huggingface_hub.

Its cache is used, and HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN mean what they mean to it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jaxcnn
from jaxcnn.errors import UserError
from jaxcnn.files import storage_problem
from jaxcnn.limits import HUB_ADDRESS
from jaxcnn.transfer.about import from_metadata
from jaxcnn.transfer.entries import Contents
from jaxcnn.transfer.weight_files import read_weights

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# The keys of a config.json for the classes: timm's, its former one, and transformers'.
_CLASSES = ("label_names", "labels", "id2label")
# What timm's config.json says besides of the network and how it was evaluated.
_NOT_TAKEN = ("crop_pct", "interpolation", "label_offset", "model_args")


class Repository(NamedTuple):
    """The weights of a repository at one commit.

    Attributes:
      address: 'hf://OWNER/REPO@COMMIT'.
      contents: of the weight file.
      about: the architecture as 'model', and whichever of the `about.ABOUT` fields are known; from
        the weight file, if jaxcnn wrote it, and from config.json.
      said: log lines on what was read and taken over.
    """

    address: str
    contents: Contents
    about: Mapping[str, Any]
    said: list[str]


def on_hub(source: str | Path) -> bool:
    """Whether this is the address of a repository, and no path."""
    return isinstance(source, str) and source.startswith("hf://")


def pinned(address: str) -> str:
    """The address with the commit that its revision is now, or was when the hub was last reached.

    Raises:
      UserError: there is no such repository or revision, or the hub cannot be reached and the cache
        does not know the revision.
    """
    if not (parts := HUB_ADDRESS.fullmatch(address)):
        raise UserError(f"{address} must be hf://OWNER/REPO or hf://OWNER/REPO@REVISION")
    repository, revision = parts["repository"], parts["revision"]
    found = _asked(address, lambda hub: hub.resolve_revision(repository, revision=revision))
    return f"hf://{repository}@{found.resolved}"


def open_repository(address: str) -> Repository:
    """Reads `model.safetensors`, or else `pytorch_model.bin`, and `config.json`, timm's or another's.

    Raises:
      UserError: the repository has no such weights, a file is damaged or cannot be downloaded, or
        the package huggingface_hub is not installed.
      OSError: the cache cannot be written.
    """
    address = pinned(address)
    config = _config(_downloaded(address, "config.json"), address)
    path = next(filter(None, (_downloaded(address, name) for name in WEIGHT_FILES)), None)
    if path is None:
        raise UserError(f"{address} holds no weights: neither {' nor '.join(WEIGHT_FILES)}")
    _check_whole(path, address)
    contents = read_weights(path)
    about = _about(config) | from_metadata(contents.metadata, address)
    said = [f"{address}: {path.name}", *_said(about, config)]
    return Repository(address, contents, about, said)


def _downloaded(address: str, name: str) -> Path | None:
    """The path of a file in the cache, which is filled if need be; None if there is no such file."""
    repository, commit = HUB_ADDRESS.fullmatch(address).group("repository", "revision")

    def ask(hub) -> str | None:
        known = hub.try_to_load_from_cache(repository, name, revision=commit)
        if known is not None and not isinstance(known, str):  # the cache knows that it is missing
            return None
        try:
            return hub.hf_hub_download(
                repository,
                name,
                revision=commit,
                library_name="jaxcnn",
                library_version=jaxcnn.__version__,
            )
        except hub.errors.RemoteEntryNotFoundError:
            return None

    path = _asked(address, ask)
    return path and Path(path)


def _asked(address: str, ask: Callable[[Any], Any]) -> Any:
    """What `ask` returns for the package; an error of the package is a user's, in one line."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UserError(
            f"{address} needs the package huggingface_hub: pip install 'jaxcnn[hub]'"
        ) from None
    try:
        return ask(huggingface_hub)
    except Exception as error:  # its own, its HTTP client's, OSError
        if storage_problem(error):
            raise
        raise UserError(f"{address} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The end of a message that begins with the address."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    match error:
        case errors.GatedRepoError():
            return f"is gated: {hub} wants you to ask for access, and then a token in HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return f"is not at {hub}, or it is private and needs a token in HF_TOKEN"
        case errors.RevisionNotFoundError():
            return "does not exist: the repository has no such branch, tag or commit"
        case errors.RevisionResolutionError() | errors.LocalEntryNotFoundError():
            why = f"{hub} does not give it ({_shown(error.__cause__ or error)})"
            if constants.is_offline_mode():
                why = "HF_HUB_OFFLINE forbids a download"
            return f"is not in the cache {constants.HF_HUB_CACHE}, and {why}"
    return f"cannot be downloaded from {hub} ({_shown(error)})"


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _check_whole(path: Path, address: str) -> None:
    """Refuses a file of other bytes than the hub's; the package compares only the sizes.

    The cache names a large file by its SHA-256, and links to it where the system has links.
    """
    name = path.readlink().name if path.is_symlink() else ""
    if len(name) != 64:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != name:
        raise UserError(
            f"{path.resolve()} is damaged: its bytes are not those of {address}; remove it, then run "
            "this again"
        )


def _config(path: Path | None, address: str) -> Mapping[str, Any]:
    """What config.json says of the network and its images; empty if there is none."""
    try:
        config = json.loads(path.read_bytes()) if path else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{address}: its config.json is damaged: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{address}: its config.json must hold a dictionary")
    # timm describes the images in an entry of its own; before 2023 it did so at the top.
    images = config.get("pretrained_cfg")
    return {**config, **images} if isinstance(images, dict) else config


def _about(config: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture as 'model', and the `about.ABOUT` fields of a config.json."""
    about: dict[str, Any] = {}
    if isinstance(architecture := config.get("architecture"), str):
        about["model"] = architecture
    if names := next(filter(None, (_in_order(config.get(key)) for key in _CLASSES)), None):
        about["class_names"] = names
    size, mean, std = (config.get(key) for key in ("input_size", "mean", "std"))
    if _is_size(size):
        about["image_shape"] = [*size[1:], size[0]]
    whole = _is_per_channel(mean) and _is_per_channel(std)
    if whole and len(mean) == len(std) and min(std) > 0:
        about |= {"mean": [255 * m for m in mean], "std": [255 * s for s in std]}
        about["pixel_dtype"] = "uint8"
    return about


def _said(about: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Log lines on what is taken over, and on what config.json says besides."""
    said = []
    if "model" in about:
        said.append(f"architecture: {about['model']}")
    if names := about.get("class_names"):
        said.append(f"classes: {', '.join(names[:3])}{', …' if names[3:] else ''}")
    if "image_shape" in about:
        said.append(f"images: {'×'.join(map(str, about['image_shape']))}")
    if "mean" in about and "std" in about:
        unit = 255 if about.get("pixel_dtype") == "uint8" else 1
        mean, std = (", ".join(f"{v / unit:.4g}" for v in about[key]) for key in ("mean", "std"))
        said.append(f"normalisation: mean {mean}; std {std}")
    taken = {"input_size": "image_shape", "mean": "mean", "std": "std"}
    taken |= dict.fromkeys(_CLASSES, "class_names")
    left = [key for key in _NOT_TAKEN if config.get(key)]
    left += [key for key, field in taken.items() if config.get(key) and field not in about]
    if left:
        values = (f"{key} {json.dumps(config[key]).strip(chr(34))[:60]}" for key in left)
        said.append(f"not taken over: {', '.join(values)}")
    return said


def _in_order(names: Any) -> list[str] | None:
    """Class names from a list, or from a dictionary by index without gaps; None from anything else."""
    if isinstance(names, dict):
        names = [names.get(str(i)) for i in range(len(names))]
    whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if whole else None


def _is_size(value: Any) -> bool:
    """Whether this is a list of channels, height and width."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(side) is int and side > 0 for side in value)
    )


def _is_per_channel(value: Any) -> bool:
    """Whether this is a list of finite numbers of at least 0."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(type(number) in (int, float) and 0 <= number < math.inf for number in value)
    )
