"""The precision of a run: one setting, from which follow the network's dtype and its products'."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from jaxcnn.errors import UserError

# The dtype that a network computes in, by `config.precision`.
_DTYPES = {"float32": "float32", "tensorfloat32": "float32", "bfloat16": "bfloat16"}


def settle_precision(config: ConfigDict, overrides: Mapping[str, str]) -> None:
    """Sets `config.model.dtype` to what `config.precision` asks for.

    Args:
      config: resolved.
      overrides: of its settings: a dtype among them is meant, even if it is the default.

    Raises:
      UserError: the two contradict each other, or the model has no dtype.
    """
    if not config.precision:
        return
    wanted, given = _DTYPES[config.precision], config.model.get("dtype")
    if given is None:
        raise UserError(
            f"config.precision={config.precision!r}: model '{config.model.name}' has no setting dtype; "
            "set config.precision=''"
        )
    if given == wanted:
        return
    if given != "float32" or "model.dtype" in overrides:
        raise UserError(
            f"config.precision={config.precision!r} contradicts config.model.dtype={given!r}; set "
            f"config.model.dtype={wanted!r}, or config.precision='' to go by the dtype"
        )
    config.model.dtype = wanted


def precision_of_products(config: ConfigDict, platform: str) -> str | None:
    """What a network's convolutions and matrix products ask for, as `jax.default_matmul_precision`.

    None leaves it to XLA: for numbers in bfloat16, and on a CPU, there is nothing to choose.

    Args:
      platform: that is computed on: 'cpu', 'gpu' or 'tpu'.
    """
    if platform == "cpu" or config.model.get("dtype") == "bfloat16":
        return None
    return config.precision or "float32"


def precision_in_words(config: ConfigDict, platform: str) -> str:
    """The precision of a run, for its log."""
    if config.precision == "tensorfloat32" and platform == "cpu":
        return "float32 (a CPU has no tensorfloat32)"
    return config.precision or config.model.get("dtype", "float32")
