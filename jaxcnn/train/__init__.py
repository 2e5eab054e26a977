"""A run: its state, its step, its loop, and what it leaves behind.

`jaxcnn.train(config, workdir)` trains. It is this room that is called, since Python keeps a package's
rooms under the same names as its attributes.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> dict:
        """`jaxcnn.train.loop.train`."""
        from jaxcnn.train.loop import train

        return train(*args, **settings)


sys.modules[__name__].__class__ = _Room
