"""Which values the models' settings can have."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.errors import UserError

DTYPES = ("float32", "bfloat16", "float64")
PARAM_DTYPES = ("float32", "float64")

_AT_LEAST_1 = (lambda v: v >= 1), "at least 1"
_FRACTION = (lambda v: 0 <= v < 1), "at least 0 and less than 1"

_LIMITS = {
    **dict.fromkeys(
        (
            "num_classes", "width", "widths", "hidden", "stage_sizes", "pool_size", "cardinality",
            "inner_factor", "widen_factor", "growth_rate", "stem_width", "norm_groups",
            "ghost_batch_size",
        ),
        _AT_LEAST_1,
    ),
    **dict.fromkeys(
        ("dropout_rate", "aux_dropout_rate", "drop_path_rate", "batch_norm_momentum"), _FRACTION
    ),
    "compression": ((lambda v: 0 < v <= 1), "more than 0 and at most 1"),
    "aux_weight": ((lambda v: v >= 0), "at least 0"),
    "norm_epsilon": ((lambda v: v > 0), "more than 0"),
    "dtype": ((lambda v: v in DTYPES), f"one of {', '.join(DTYPES)}"),
    "param_dtype": ((lambda v: v in PARAM_DTYPES), " or ".join(PARAM_DTYPES)),
}  # fmt: skip


def check_settings(settings: Mapping[str, Any], prefix: str = "") -> None:
    """Raises UserError where a value is out of its range; `prefix` is put before the setting's name.

    What a setting chooses by name is checked where the name is looked up.
    """
    for name, value in settings.items():
        if name not in _LIMITS:
            continue
        is_valid, valid = _LIMITS[name]
        values = value if isinstance(value, tuple | list) else (value,)
        if not all(map(is_valid, values)):
            raise UserError(f"{prefix}{name}={value!r} must be {valid}")
