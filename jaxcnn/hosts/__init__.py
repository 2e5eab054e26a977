"""The processes that train together: how they join, what they agree on, and how they end.

With one process, each function returns at once.
"""

from jaxcnn.hosts.agreement import (
    Vote,
    any_of,
    barrier,
    check_equal,
    check_shared,
    count,
    each,
    first_of,
    from_primary,
    primary,
)
from jaxcnn.hosts.ending import end, together
from jaxcnn.hosts.joining import join

__all__ = [
    "Vote",
    "any_of",
    "barrier",
    "check_equal",
    "check_shared",
    "count",
    "each",
    "end",
    "first_of",
    "from_primary",
    "join",
    "primary",
    "together",
]
