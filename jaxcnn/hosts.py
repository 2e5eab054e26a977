"""The processes that train together; currently always one."""

import jax

from jaxcnn.errors import UserError


def count() -> int:
    """The number of JAX processes."""
    return jax.process_count()


def require_one() -> None:
    """Refuses to run in several processes, each of which would write every file of the run.

    Raises:
      UserError: `jax.distributed` has connected more than one process.
    """
    if count() > 1:
        raise UserError(
            f"training runs in a single process, but jax.distributed has connected {count()}"
        )
