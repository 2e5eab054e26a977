"""Training runs: state, step, loop, checkpoints and output files.

`jaxcnn.train(config, workdir)` trains. This package itself is callable, because importing it sets
the attribute `jaxcnn.train` to the package.
"""

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> dict:
        """Calls `jaxcnn.train.start.train`."""
        from jaxcnn.train.start import train

        return train(*args, **settings)


sys.modules[__name__].__class__ = _CallableModule
