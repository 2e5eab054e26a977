"""Reads weight files, `.safetensors` or torch, without running code in them."""

import math
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import deserialize, safe_open

from jaxcnn.errors import UserError
from jaxcnn.transfer.entries import Contents, contents_of

_NUMBERS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_weights(path: str | Path) -> Contents:
    """Reads a `.safetensors` file or a torch file (`.pth`, `.pt`, `.th`, `.ckpt`, …).

    Raises:
      UserError: the file is missing, damaged or of another kind, or it needs torch and torch is not
        installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"from={path}: there is no such file")
    if path.suffix.lower() == ".safetensors":
        tensors, metadata = _read_safetensors(path)
        return contents_of(tensors, metadata)
    from jaxcnn.transfer.torch_file import read_torch_file

    contents = contents_of(saved := _dictionary(read_torch_file(path), path))
    if not contents.entries:
        found = ", ".join(map(str, list(saved)[:5])) or "nothing"
        raise UserError(
            f"{path} holds no state dict (a dictionary of tensors by name); it holds: {found}"
        )
    return contents


def as_arrays(tensors: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    """The tensors as NumPy arrays; floats become float32, integers stay as they are.

    Raises:
      UserError: a tensor is sparse, quantized or complex, or larger than what the file stores of it.
    """
    return {name: _as_array(name, tensor, source) for name, tensor in tensors.items()}


def _as_array(name: str, tensor: Any, source: str) -> np.ndarray:
    if hasattr(tensor, "detach"):  # a torch tensor
        if tensor.is_quantized or str(tensor.layout) != "torch.strided" or tensor.is_meta:
            raise UserError(
                f"{source}: {name} is a sparse, quantized or empty tensor; save it dense"
            )
        count, stored = math.prod(tensor.shape), tensor.untyped_storage().nbytes()
        if count * tensor.element_size() > stored:  # `expand` repeats numbers without storing them
            raise UserError(
                f"{source}: {name} has {count:,} numbers, of which {stored:,} bytes are stored; save "
                "it with .contiguous()"
            )
        tensor = tensor.detach().resolve_conj().resolve_neg()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if jnp.issubdtype(tensor.dtype, jnp.complexfloating):
        raise UserError(f"{source}: {name} is of {tensor.dtype}; weights are real numbers")
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is refused later
        is_float = jnp.issubdtype(tensor.dtype, jnp.floating)
        return np.asarray(tensor, np.float32) if is_float else np.asarray(tensor)


def _dictionary(saved: Any, path: Path) -> Mapping:
    if isinstance(saved, Mapping):
        return saved
    raise UserError(
        f"{path} holds no state dict (a dictionary of tensors by name) but a {type(saved).__name__}"
    )


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        stored = sorted(deserialize(path.read_bytes()), key=itemgetter(0))
    except Exception as error:  # its own exceptions, and OSError
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path} cannot be read as safetensors: {reason}") from error
    for name, spec in stored:
        if spec["dtype"] not in _NUMBERS:
            raise UserError(
                f"{path} cannot be read as safetensors: {name} is of {spec['dtype']}; supported: "
                f"{', '.join(_NUMBERS)}"
            )
    return {
        name: np.frombuffer(spec["data"], _NUMBERS[spec["dtype"]]).reshape(spec["shape"])
        for name, spec in stored
    }, metadata
