"""Reading again from a transport that was told to pause. Used by server.py, upstream.py and relay.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def resume(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, broken: Callable[[], None]) -> None:
    """Read on; ``broken`` is called if what TLS had already read proves to be broken.

    aiofastnet (1.2) does not hand out what it had decrypted when it was paused before more comes on the socket.
    """
    read_on = getattr(transport, "_do_read", None)
    if read_on is not None:
        loop.call_soon(_read_on, transport, read_on, broken)
    transport.resume_reading()


def _read_on(transport: asyncio.Transport, read_on: Callable[[], None], broken: Callable[[], None]) -> None:
    if not transport.is_closing():
        try:
            read_on()
        except (OSError, RuntimeError):
            broken()
