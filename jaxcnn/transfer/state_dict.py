"""Converts torch state dicts to a model's variables, and back."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

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
# torch's count of training batches, unused when the momentum is a number.
_COUNTER = "num_batches_tracked"
_COUNTERS = (_COUNTER, "n_averaged")  # the second is from torch's AveragedModel


class Matching(NamedTuple):
    """How a file's tensors match a model's variables.

    Attributes:
      matched: the number of variables with a tensor.
      expected: the number of variables.
      share: the fraction of the model's numbers that the matched variables contain.
      missing: variables without a tensor, by torch's names.
      surplus: tensors without a variable.
      not_finite: tensors with NaN or infinity.
    """

    matched: int
    expected: int
    share: float
    missing: list[str]
    surplus: list[str]
    not_finite: list[str]


def tensor_names(model: Classifier, image_shape: tuple[int, int, int]) -> set[str]:
    """torch's names for a model's variables.

    Raises:
      UserError: torch has no names for this model's weights.
    """
    name_of = namer(model)
    return {
        _tensor_name(name_of, path) for path in flatten_dict(abstract_variables(model, image_shape))
    }


def num_classes_of(model: Classifier, tensors: StateDict) -> int | None:
    """The number of classes of the head in a state dict; None if it has no head."""
    head = f"{namer(model)('head')}.weight"
    found = [t for name, t in tensors.items() if common_spelling(model, name) == head]
    return found[0].shape[0] if found and found[0].ndim == 2 else None


def from_state_dict(
    model: Classifier,
    tensors: StateDict,
    image_shape: tuple[int, int, int],
    source: str,
    strict: bool = True,
) -> tuple[dict, Matching]:
    """A model's variables from torch's tensors.

    Args:
      image_shape: the shape of the model's images; only the channels matter.
      source: the path that error messages name.
      strict: whether variables and tensors must match one to one, and all numbers be finite.
        Otherwise variables without a tensor are initialised (seed 0), and tensors without a variable
        are ignored.

    Returns:
      {'params': …, 'batch_stats': …} as NumPy arrays, and what matched.

    Raises:
      UserError: no tensor is the model's; a tensor has the wrong shape or contains integers; or, if
        `strict`, one is missing, surplus or not finite.
    """
    name_of = namer(model)
    given = {common_spelling(model, name): tensor for name, tensor in tensors.items()}
    given = {name: tensor for name, tensor in given.items() if not name.endswith(_COUNTERS)}
    expected = flatten_dict(abstract_variables(model, image_shape))
    names = {path: _tensor_name(name_of, path) for path in expected}
    absent = [path for path, name in names.items() if name not in given]
    missing = [names[path] for path in absent]
    surplus = sorted(set(given) - set(names.values()))
    problem = f"the tensors of {source} do not fit this {type(model).__name__}"
    if len(missing) == len(names):
        raise UserError(f"{problem}: it has {_some(given)}, and none of {_some(names.values())}")
    if strict and (missing or surplus):
        kinds = (("it lacks", missing), ("has a surplus of", surplus))
        what = [f"{kind} {len(found)} ({_some(found)})" for kind, found in kinds if found]
        raise UserError(f"{problem}: {' and '.join(what)}")

    misfit = f"{source} does not fit this {type(model).__name__}"
    variables = {
        path: _variable(model, path, like, given[names[path]], f"{misfit}: {names[path]}")
        for path, like in expected.items()
        if names[path] in given
    }
    not_finite = [names[path] for path, value in variables.items() if not np.isfinite(value).all()]
    if strict and not_finite:
        raise UserError(
            f"{source} holds NaN or infinity, in {len(not_finite)} of {len(names)} tensors "
            f"({_some(not_finite)})"
        )
    share = sum(v.size for v in variables.values()) / sum(v.size for v in expected.values())
    matching = Matching(len(variables), len(names), share, missing, surplus, not_finite)
    return unflatten_dict(variables | _initialized(model, image_shape, absent)), matching


def _initialized(model: Classifier, image_shape: tuple[int, int, int], paths: list) -> dict:
    """A new model's variables (seed 0), by path."""
    if not paths:
        return {}

    def fresh():
        images = jnp.zeros((1, *image_shape))
        initialized = flatten_dict(model.init(jax.random.key(0), images, train=False))
        return [initialized[path] for path in paths]

    # The program runs only once, so a fast compile matters more than fast code.
    once = jax.jit(fresh).lower().compile({"xla_backend_optimization_level": 0})
    return dict(zip(paths, jax.device_get(once()), strict=True))


def _variable(
    model: Classifier,
    path: tuple[str, ...],
    like: jax.ShapeDtypeStruct,
    tensor: np.ndarray,
    where: str,
) -> np.ndarray:
    shape = _torch_shape(like.shape)
    if len(shape) == 2 and tensor.ndim == 4:  # timm's VGGs convolve over the whole of their input
        tensor = tensor.reshape(len(tensor), -1)
    if tensor.shape != shape:
        raise UserError(f"{where} is {_by(tensor.shape)}, and must be {_by(shape)}")
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise UserError(f"{where} is of {tensor.dtype}, and must be of floats")
    return _from_torch(model, path, tensor).astype(like.dtype)


def to_state_dict(model: Classifier, variables: Mapping) -> dict[str, np.ndarray]:
    """The tensors with torch's names and layouts; `load_state_dict` accepts them with strict=True."""
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
    """The shape that `_to_torch` gives an array of this shape."""
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
    """The side of the feature map that a dense layer flattens; torch flattens channels first."""
    match path[-2]:
        case "fc6":
            return model.pool_size
        case "aux1_fc" | "aux2_fc":
            return 4
    return 1


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
