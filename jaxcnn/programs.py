"""Compiled programs, shared by the runs of a process.

JAX caches traces and compiled programs by the identity of the function. A function for a model is
therefore created only once: later runs with an equal model, data shape and optimizer compile nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

_FUNCTIONS = 16  # of each kind; the least recently used are dropped along with their programs


def compiler_options(deterministic: bool, platform: str) -> dict[str, Any] | None:
    """XLA's options for a program that runs on 'cpu', 'gpu' or 'tpu'; None: its defaults.

    Args:
      deterministic: whether the program must give the same bits each time that it is compiled and run.
        On a GPU XLA then neither adds up in the order in which threads arrive, nor chooses
        implementations by timing them. CPUs and TPUs do neither.
    """
    return {"xla_gpu_deterministic_ops": True} if deterministic and platform == "gpu" else None


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
