"""Normalisation layers by name."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxcnn.errors import UserError, suggestion

NORMS = ("batch", "none")


def normalization(name: str, train: bool, **dtypes) -> Callable[..., Callable]:
    """A constructor of layers: `norm = normalization('batch', train)`, then `norm(name='norm1')(x)`.

    Args:
      name: 'batch' (Ioffe & Szegedy 2015; running averages keep 0.9 of themselves at each step and
        ε is 1e-5, as in torch) or 'none'. Under jit over a sharded batch, 'batch' takes its
        statistics over the global batch.
      train: 'batch' normalises with the batch's own statistics and updates the running ones;
        otherwise it uses the running ones and changes nothing.
      **dtypes: `dtype` and `param_dtype` of the layers.

    Raises:
      UserError: there is no such normalisation.
    """
    match name:
        case "batch":
            return partial(
                nn.BatchNorm,
                use_running_average=not train,
                momentum=0.9,
                epsilon=1e-5,
                **dtypes,
            )
        case "none":
            return lambda name: lambda x: x
    raise UserError(f"norm '{name}' does not exist; {suggestion(name, NORMS)}")
