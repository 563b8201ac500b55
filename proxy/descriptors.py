"""How many connections the system has room for: each needs descriptors. Called by app.py and kubernetes/injector.py.

Without any left, no connection is accepted and none is made, and nobody is told why. So there are never more than fit:
of two descriptors that are left beside Backstay's own, one is for an agent, and one for the other side of its call.
"""

from __future__ import annotations

import logging
import resource
from typing import Final, NamedTuple

_log = logging.getLogger("backstay")

_OWN: Final = 128  # listeners, files, stores, metrics, admin
_EACH: Final = 2


class Room(NamedTuple):
    """What is to be done about a limit of descriptors."""

    soft: int  # the limit to set
    connections: int


def room(wanted: int, soft: int, hard: int) -> Room:
    """For up to ``wanted`` connections; limits as the system has them, where -1 is none."""
    if soft == resource.RLIM_INFINITY:
        return Room(soft, wanted)
    needed = _OWN + _EACH * wanted
    soft = max(soft, needed if hard == resource.RLIM_INFINITY else min(needed, hard))
    return Room(soft, max(min(wanted, (soft - _OWN) // _EACH), 1))


def make_room(wanted: int) -> int:
    """How many there may be. Raises the limit of this process as far as that needs, and the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    made = room(wanted, soft, hard)
    if made.soft != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (made.soft, hard))
    if made.connections < wanted:
        _log.warning(
            "limits.connections is more than there are file descriptors for",
            extra={"limit": wanted, "connections": made.connections, "remedy": f"ulimit -n {_OWN + _EACH * wanted}"},
        )
    return made.connections
