"""Two connections joined: what comes on one is written to the other, untouched. Made and begun by capture.py.

    waiting --begin--> open --one side ends--> half-closed --the other ends--> ending --both are gone--> ended
                        |                          |                              ^
                        +---- reset, or shut ------+------------------------------+

A side that does not take what is written to it stops the reading from the other, so that at most one read (the scratch
buffer's 64 KiB) is held for each. An end is passed on as an end, a reset as a reset: a stream that was cut must not
look complete. What the upstream says while it waits, as servers do that speak first, is held for begin().
"""

from __future__ import annotations

import contextlib
import socket
import struct
from math import inf
from typing import TYPE_CHECKING, Final, cast

from proxy.wire.reading import resume

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.clock import Clock

HALF_CLOSED_SECONDS: Final = 900.0  # without a byte, once one side has ended: nobody may be left to end the other
FLUSH_SECONDS: Final = 60.0  # for a side to take the last that was written for it
RESET_SECONDS: Final = 2.0  # the same, before it is reset
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER without time to linger
# A peer that is gone without a word is noticed after two minutes: the connection itself may be silent for days.
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class Side:
    """One of the two. An asyncio.BufferedProtocol by its methods: a compiled class has no interpreted base."""

    __slots__ = ("_relay", "_scratch", "clogged", "count", "ended", "lost", "other", "transport")

    def __init__(self, relay: Relay, scratch: memoryview) -> None:
        self._relay = relay
        self._scratch = scratch
        self.other = self  # until the relay has made both
        self.transport: asyncio.Transport | None = None
        self.count = 0  # bytes that came from it
        self.clogged = False  # it does not take what is written
        self.ended = False  # it sends no more
        self.lost = False

    # --- the transport's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = made = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(0)  # of what it takes at once nothing is held, of the rest no more than one read
        _keep_alive(made)
        self._relay.connected(self)

    def is_buffered_protocol(self) -> bool:
        """See aiofastnet: reads go into ``get_buffer``."""
        return True

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol: one buffer serves all connections, since it is emptied before the next read."""
        del sizehint
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._scratch[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self.count += len(data)
        self._relay.take(self, data)

    def eof_received(self) -> bool:
        """See asyncio.Protocol: True leaves the way to this side open."""
        if self.ended:
            return True  # uvloop says so again if reading is resumed
        self.ended = True
        return self._relay.half_close(self) and self.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.lost = self.ended = True
        self._relay.lose(self, exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.clogged = True
        self.other.pause()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.clogged = False
        self.other.resume()

    # --- the relay's ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send what came from the other side."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def can_write_eof(self) -> bool:
        """Whether an end can be told to it while it still sends; over TLS it cannot."""
        return self.transport is not None and self.transport.can_write_eof()

    def write_eof(self) -> None:
        """Tell it that the other side has ended; raises OSError."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def pause(self) -> None:
        """Read no more for now."""
        if self.transport is not None and not self.ended and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on, if there is a place for what comes."""
        if self.other.clogged:
            self.pause()
        elif self.transport is not None and not self.ended:
            self._relay.read_on(self.transport)

    def close(self) -> None:
        """Close it when it has taken what was written."""
        if self.transport is not None:
            self.transport.close()

    def reset(self, *, at_once: bool) -> None:
        """End it so that nobody takes this for a good end; after it has taken what was written, if not ``at_once``."""
        if self.transport is not None and not self.lost:
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError, ValueError):  # it is gone already; uvloop's has no number then
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            if at_once:
                self.transport.abort()
            else:
                self.transport.close()


class Relay:
    """See the module. ``on_end`` is called once, when neither side is left."""

    __slots__ = ("_clock", "_failed", "_held", "_on_end", "agent", "deadline", "state", "upstream", "upstream_first")

    def __init__(self, clock: Clock, scratch: memoryview, on_end: Callable[[], None]) -> None:
        self._clock = clock
        self._on_end = on_end
        self._held = bytearray()  # of the upstream's, until begin()
        self._failed = False  # the upstream was reset before begin()
        self.agent = Side(self, scratch)
        self.upstream = self.agent.other = Side(self, scratch)
        self.upstream.other = self.agent
        self.upstream_first: Callable[[], None] | None = None
        """Called once if the upstream speaks, or is gone, before begin()."""
        self.state = "waiting"  # waiting | open | half-closed | ending | ended
        self.deadline = inf  # monotonic seconds; past it the listener calls expire()

    def begin(self, agent_transport: asyncio.Transport, early: bytes) -> None:
        """Take the agent's connection over; both sides are connected. ``early``: what the agent has sent so far.

        The transport's protocol is replaced, and reading from it resumed. If the agent has ended already, its
        ``eof_received`` is to be called then.
        """
        agent, upstream = self.agent, self.upstream
        self.state = "open"
        agent_transport.set_protocol(cast("asyncio.BaseProtocol", agent))
        agent.clogged = agent_transport.get_write_buffer_size() > 0  # resume_writing will be called
        agent.connection_made(agent_transport)
        held, self._held = bytes(self._held), bytearray()
        if early:
            agent.data_received(early)
        if held:
            agent.write(held)
        if upstream.lost:
            self._follow(agent, failed=self._failed)
        elif upstream.ended:
            self.half_close(upstream)
        agent.resume()
        upstream.resume()

    def shut(self) -> None:
        """Close both at once."""
        if self.state != "ended":
            self.state, self.deadline = "ending", inf
            self.agent.reset(at_once=True)
            self.upstream.reset(at_once=True)
            self._end_if_gone()

    def expire(self) -> None:
        """The deadline has passed."""
        self.shut()

    @property
    def at_rest(self) -> bool:
        """Whether nothing is lost by closing it: only its sides know, so never before it has ended."""
        return self.state == "ended"

    @property
    def spoken(self) -> bool:
        """Whether the upstream has said something before begin(), or is gone."""
        return bool(self._held) or self.upstream.ended

    @property
    def sent(self) -> int:
        """Bytes from the agent."""
        return self.agent.count

    @property
    def received(self) -> int:
        """Bytes from the upstream."""
        return self.upstream.count

    # --- what the sides report --------------------------------------------------------------------------

    def connected(self, side: Side) -> None:
        """``side`` has a transport."""
        if self.state in {"ending", "ended"}:
            side.reset(at_once=True)  # it was shut while it was still being connected

    def take(self, side: Side, data: bytes) -> None:
        """``data`` has come from ``side``."""
        if self.state == "waiting":
            self._held += data
            side.pause()
            self._speak()
            return
        if self.state == "half-closed":
            self.deadline = self._clock.now() + HALF_CLOSED_SECONDS
        side.other.write(data)
        if side.other.clogged:
            side.pause()  # it was told so before, unless somebody has resumed it since

    def half_close(self, side: Side) -> bool:
        """``side`` has ended; whether the other may still send to it."""
        if self.state == "waiting":
            self._speak()
            return True
        if self.state == "open" and not side.other.ended and side.other.can_write_eof():
            self.state, self.deadline = "half-closed", self._clock.now() + HALF_CLOSED_SECONDS
            try:
                side.other.write_eof()
            except OSError:  # asyncio's own transports say so here, where uvloop loses the connection
                self._follow(side, failed=True)
                self._follow(side.other, failed=True)
                return False
            return True
        self._follow(side, failed=False)
        self._follow(side.other, failed=False)
        return False

    def lose(self, side: Side, error: Exception | None) -> None:
        """``side`` is gone."""
        if self.state == "waiting":
            self._failed = error is not None
            self._speak()
            return
        if self.state in {"open", "half-closed"}:
            self._follow(side.other, failed=error is not None)
        self._end_if_gone()

    def read_on(self, transport: asyncio.Transport) -> None:
        """Resume reading."""
        if not transport.is_closing():
            resume(transport, self._clock.loop, self.shut)

    # --- ends -------------------------------------------------------------------------------------------

    def _speak(self) -> None:
        first, self.upstream_first = self.upstream_first, None
        if first is not None:
            first()

    def _follow(self, side: Side, *, failed: bool) -> None:
        """End ``side`` as the other has ended, once it has taken what was written for it."""
        self.state = "ending"
        self.deadline = self._clock.now() + (RESET_SECONDS if failed else FLUSH_SECONDS)
        if failed:
            side.reset(at_once=False)
        else:
            side.close()

    def _end_if_gone(self) -> None:
        """Both are lost, or were never there."""
        gone = all(each.lost or each.transport is None for each in (self.agent, self.upstream))
        if gone and self.state != "ended":
            self.state, self.deadline = "ended", inf
            self._on_end()

    def __repr__(self) -> str:
        return f"<Relay {self.state} sent={self.sent} received={self.received}>"


def _keep_alive(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):  # not over TCP, or it is gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE:
            if hasattr(socket, name):  # Linux has them all
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
