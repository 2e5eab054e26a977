"""Which form of a layer is traced: XLA's own, or the one that is faster on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_plain = ContextVar("plain", default=False)


@contextmanager
def plain_forms() -> Iterator[None]:
    """Within it every layer is traced as XLA's own operation, on a CPU too: a program to be read."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def use_cpu_forms() -> bool:
    """Whether layers are to take the forms that are faster on a CPU."""
    return jax.default_backend() == "cpu" and not _plain.get()
