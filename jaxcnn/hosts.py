"""The processes that train together. For now that is one."""

import jax

from jaxcnn.errors import UserError


def count() -> int:
    """How many processes share the devices."""
    return jax.process_count()


def require_one() -> None:
    """Refuses several processes, which would each write every file of the run.

    Raises:
      UserError: `jax.distributed` has joined more than one.
    """
    if count() > 1:
        raise UserError(
            f"a run is trained by one process, and jax.distributed has joined {count()}"
        )
