"""Compiled programs, shared by the runs of a process.

JAX caches traces and compiled programs by the identity of the function. A function for a model is
therefore created only once: later runs with an equal model, data shape and optimizer compile nothing.
"""

import functools
from collections.abc import Callable

_FUNCTIONS = 16  # of each kind; the least recently used are dropped along with their programs


def made_once(make: Callable[..., Callable]) -> Callable[..., Callable]:
    """Wraps `make` so that it returns the same function for equal arguments."""
    cached = functools.lru_cache(_FUNCTIONS)(make)

    @functools.wraps(make)
    def made(*arguments, **settings):
        try:
            hash((arguments, tuple(settings.values())))
        except TypeError:  # the model has a field that cannot be hashed
            return make(*arguments, **settings)
        return cached(*arguments, **settings)

    return made
