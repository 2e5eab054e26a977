"""Compiled programs, shared by the runs of a process.

JAX keeps what it traced and compiled by the identity of the function. A function that is made for a
model is therefore made once: later runs of an equal model, data shape and optimizer compile nothing.
"""

import functools
from collections.abc import Callable

_FUNCTIONS = 16  # of each kind; those used least recently are dropped, and their programs with them


def made_once(make: Callable[..., Callable]) -> Callable[..., Callable]:
    """A `make` that returns the same function for equal arguments."""
    cached = functools.lru_cache(_FUNCTIONS)(make)

    @functools.wraps(make)
    def made(*arguments, **settings):
        try:
            hash((arguments, tuple(settings.values())))
        except TypeError:  # a field of the model that cannot be hashed
            return make(*arguments, **settings)
        return cached(*arguments, **settings)

    return made
