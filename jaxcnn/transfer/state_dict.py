"""From torch's state dicts to a model's variables, and back."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.transfer.torch_names import common_spelling, namer

StateDict = Mapping[str, np.ndarray]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# torch's count of training batches, which nothing reads while the momentum is a number.
_COUNTER = "num_batches_tracked"


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors` file, or of a torch file (`.pth`, `.pt`, `.th`, …).

    Nothing in a torch file is run: it is read with `weights_only=True`. Where the file holds more
    than a state dict, as a checkpoint does, its entry 'state_dict' or 'model' is taken.

    Raises:
      UserError: the file is missing, damaged or of another kind, or torch is needed and not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"from={path}: there is no such file")
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except Exception as error:  # of a number type that NumPy lacks too
            raise UserError(f"{path} cannot be read as safetensors: {_one_line(error)}") from error
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is a torch file, and torch is not installed: pip install -e '.[torch]'; a "
            ".safetensors file needs no torch"
        ) from None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers stumble over
        # torch's own message advises to load it unsafely.
        raise UserError(
            f"{path} cannot be read as a torch file: it is damaged, of another kind, or holds "
            f"more than tensors ({type(error).__name__})"
        ) from error
    for entry in ("state_dict", "model"):
        if isinstance(saved, Mapping) and isinstance(saved.get(entry), Mapping):
            saved = saved[entry]
    if not isinstance(saved, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(tensor) and tensor.layout == torch.strided
        for name, tensor in saved.items()
    ):
        raise UserError(f"{path} holds no state dict (a dictionary of tensors by name)")
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in saved.items()
    }


def num_classes_of(model: Classifier, tensors: StateDict) -> int | None:
    """How many classes the head in a state dict tells apart; None where it has none."""
    head = f"{namer(model)('head')}.weight"
    found = [t for name, t in tensors.items() if common_spelling(model, name) == head]
    return found[0].shape[0] if found and found[0].ndim == 2 else None


def from_state_dict(
    model: Classifier,
    tensors: StateDict,
    image_shape: tuple[int, int, int],
    source: str,
    strict: bool = True,
) -> tuple[dict, list[str]]:
    """A model's variables from torch's tensors.

    Args:
      image_shape: of the images that the model is for; its channels matter.
      source: what the tensors are called in an error: a path.
      strict: whether every variable must have its tensor and every tensor its variable. Otherwise
        variables without one are initialised (seed 0), and tensors without one left out.

    Returns:
      {'params': …, 'batch_stats': …} as NumPy arrays, and the names of the tensors that were missing
      or left out.

    Raises:
      UserError: a tensor is missing, surplus, or of a wrong shape.
    """
    name_of = namer(model)
    given = {common_spelling(model, name): tensor for name, tensor in tensors.items()}
    given = {name: tensor for name, tensor in given.items() if not name.endswith(_COUNTER)}
    expected = flatten_dict(abstract_variables(model, image_shape))
    names = {path: _tensor_name(name_of, path) for path in expected}
    absent = [path for path, name in names.items() if name not in given]
    missing = [names[path] for path in absent]
    surplus = sorted(set(given) - set(names.values()))
    if strict and (missing or surplus):
        what = [
            f"{kind} {len(found)} ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
            for kind, found in (("it lacks", missing), ("has a surplus of", surplus))
            if found
        ]
        raise UserError(
            f"the tensors of {source} do not fit this {type(model).__name__}: {' and '.join(what)}"
        )

    @jax.jit
    def fresh():
        images = jnp.zeros((1, *image_shape))
        initialized = flatten_dict(model.init(jax.random.key(0), images, train=False))
        return [initialized[path] for path in absent]

    variables = dict(zip(absent, fresh(), strict=True)) if absent else {}
    for path, like in expected.items():
        if path in variables:
            continue
        tensor = given[names[path]]
        shape = _torch_shape(like.shape)
        if tensor.shape != shape:
            raise UserError(
                f"{source} does not fit this {type(model).__name__}: {names[path]} is "
                f"{_by(tensor.shape)}, and must be {_by(shape)}"
            )
        variables[path] = _from_torch(model, path, tensor).astype(like.dtype)
    return unflatten_dict(jax.device_get(variables)), missing + surplus


def to_state_dict(model: Classifier, variables: Mapping) -> dict[str, np.ndarray]:
    """The tensors by torch's names and in its layouts: what its `load_state_dict` takes, strictly."""
    name_of = namer(model)
    tensors = {}
    for path, value in flatten_dict(variables).items():
        name = _tensor_name(name_of, path)
        tensors[name] = np.ascontiguousarray(_to_torch(model, path, np.asarray(value)))
        if path[-1] == "var":
            tensors[name.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
    return tensors


def _tensor_name(name_of, path: tuple[str, ...]) -> str:
    _collection, *modules, leaf = path
    return f"{name_of('/'.join(modules))}.{_LEAVES[leaf]}"


def _to_torch(model: Classifier, path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    """Kernels (height, width, in, out) → (out, in, height, width); (in, out) → (out, in)."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 2:
        side = _flattened_side(model, path)
        pixels = value.reshape(side * side, -1, value.shape[1])
        return pixels.transpose(2, 1, 0).reshape(value.shape[1], -1)
    return value


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `_to_torch` of an array of ours."""
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) == 4 else shape[::-1]


def _from_torch(model: Classifier, path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    if tensor.ndim == 2:
        side = _flattened_side(model, path)
        pixels = tensor.reshape(len(tensor), -1, side * side)
        return pixels.transpose(2, 1, 0).reshape(-1, len(tensor))
    return tensor


def _flattened_side(model: Classifier, path: tuple[str, ...]) -> int:
    """Pixels on a side of the image that a dense layer flattens; torch has the channels first."""
    match path[-2]:
        case "fc6":
            return model.pool_size
        case "aux1_fc" | "aux2_fc":
            return 4
    return 1


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
