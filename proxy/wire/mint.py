"""Owns the TLS contexts of intercepted hosts: minted when a name is first asked for, kept while there is room.

Called by intercept.py.

    ready(name) ── kept and fresh ──> the context, at once
        └─ no ──> context(name) ──> joins the minting of this name, or queues ──> one at a time, on one thread
                      └─ as many wait as may: MintBusy

What an agent can make it hold is ``limit`` contexts and ``waiting`` names, whatever it sends. Between two
mintings the loop has a turn, so that a storm of new names delays other calls by one of them (a
millisecond), not by all.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Final, NamedTuple

from proxy.clock import Clock
from proxy.wire.ca import Authority

_RENEWED: Final = 7  # a leaf is renewed in the last seventh of its life: the last day of a week


class MintBusy(Exception):
    """More names wait for their certificate than may; whoever asked has to come again."""


class _Kept(NamedTuple):
    context: ssl.SSLContext
    since: float  # seconds since the epoch
    until: float


class Mint:
    """See the module. ``evictions`` counts contexts dropped for want of room."""

    def __init__(self, clock: Clock, authority: Authority, *, limit: int = 256, waiting: int = 64) -> None:
        self.authority = authority
        self.evictions = 0
        self._clock = clock
        self._limit = limit
        self._waiting = waiting
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the one used last at the end
        self._asked: dict[str, asyncio.Future[ssl.SSLContext]] = {}  # in their order; the first is being minted
        self._worker = ThreadPoolExecutor(1, "backstay mint")
        self._closed = False

    def ready(self, name: str) -> ssl.SSLContext | None:
        """The context for ``name`` if there is one that is good for a while; None: ask ``context``."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if not kept.since <= self._clock.wall() < kept.until:
            return None
        self._kept.move_to_end(name)
        return kept.context

    async def context(self, name: str) -> ssl.SSLContext:
        """The context for ``name``, a DNS name in lower case or an address.

        Raises MintBusy, or ValueError: ``name`` is none, or the authority has expired.
        """
        if (context := self.ready(name)) is not None:
            return context
        minted = self._asked.get(name)
        if minted is None:
            if self._closed or len(self._asked) >= self._waiting:
                raise MintBusy
            minted = self._asked[name] = self._clock.loop.create_future()
            if len(self._asked) == 1:
                self._begin(name)
        # Others may wait for the same; and shield of 3.14 reports what it ends in as unhandled once somebody has left.
        await asyncio.wait([minted])
        return minted.result()

    def _begin(self, name: str) -> None:
        work = self._clock.loop.run_in_executor(self._worker, _minted, self.authority, name, self._clock.wall())
        work.add_done_callback(partial(self._end, name))

    def _end(self, name: str, work: asyncio.Future[_Kept]) -> None:
        error = None if work.cancelled() else work.exception()
        if self._closed:
            return
        minted = self._asked.pop(name)
        if error is not None:
            minted.set_exception(error)
            minted.exception()  # everybody who waited may have left: nothing to report
        else:
            self._keep(name, work.result())
            minted.set_result(work.result().context)
        if self._asked:
            self._begin(next(iter(self._asked)))

    def _keep(self, name: str, kept: _Kept) -> None:
        self._kept[name] = kept
        self._kept.move_to_end(name)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
            self.evictions += 1

    def close(self) -> None:
        """Mint no more; who waits gets MintBusy."""
        self._closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)
        asked, self._asked = self._asked, {}
        for minted in asked.values():
            minted.set_exception(MintBusy())
            minted.exception()
        self._kept.clear()

    def __repr__(self) -> str:
        return f"<Mint {len(self._kept)}/{self._limit} kept, {len(self._asked)}/{self._waiting} asked>"


# --- on the thread ------------------------------------------------------------------------------------------


def _minted(authority: Authority, name: str, wall: float) -> _Kept:
    chain = authority.issue(name, wall)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    file, path = _file()
    with file:
        file.write(authority.leaf_key + chain)
        file.flush()
        context.load_cert_chain(path)
    since, until = authority.validity(wall)
    return _Kept(context, since, until - (until - wall) / _RENEWED)


def _file() -> tuple[IO[bytes], str]:
    """A file and its path, for OpenSSL takes keys by path alone: in memory where the system can do that.

    Else on disk, readable by this user only, and gone when it is closed.
    """
    try:
        memory = os.fdopen(os.memfd_create("backstay"), "wb")
    except (AttributeError, OSError):  # not Linux, or forbidden
        pass
    else:
        path = f"/proc/self/fd/{memory.fileno()}"
        if os.access(path, os.R_OK):
            return memory, path
        memory.close()
    disk = tempfile.NamedTemporaryFile(prefix="backstay-")  # noqa: SIM115 -- the caller closes either
    return disk, disk.name
