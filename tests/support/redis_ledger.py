"""Ledgers on a Redis server that a test has for itself, and the passage of time on it. Used by tests/stores.

A server's clock cannot be moved: instead, everything that is written on it is put back by as many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

import pytest
import redis

from proxy.clock import Clock
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Subject
from proxy.stores.ledger_redis import RedisLedger
from tests.support.answers import GENEROUS, KIB
from tests.support.redis_server import RedisServer

SPACE: Final = "backstay:ledger:1:"
_WARM: Final = "0" * 32

_PUT_BACK: Final = """
redis.call('PERSIST', ARGV[1])  -- changes nothing, and is a write: the others are allowed on a full server too
local seconds = tonumber(ARGV[2])
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -seconds, member) end
  else
    for _, name in ipairs({'created', 'lease_until', 'kept_until'}) do
      redis.call('HSET', key, name, string.format('%.6f', redis.call('HGET', key, name) - seconds))
    end
    redis.call('PEXPIRE', key, redis.call('PTTL', key) - seconds * 1000)
  end
end
"""


class RedisBench:
    """See ledger_suite.Bench; ``make`` makes more stores. All are closed with it, and nothing went wrong unheard."""

    def __init__(self, server: RedisServer, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.server = server
        self.unhandled: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self._asking = redis.Redis(port=server.port)
        self._clock = Clock(loop)
        self._made: list[RedisLedger] = []
        self.store = self.make(**settings)

    def make(self, url: str = "", **settings: Any) -> RedisLedger:
        patient = {"limit": GENEROUS, "refresh": 10 * GENEROUS, **settings}
        self._made.append(RedisLedger(url or self.server.url, self._clock, **patient))
        return self._made[-1]

    async def second(self) -> RedisLedger:
        return self.make()

    async def pass_time(self, seconds: float) -> None:
        self._asking.eval(_PUT_BACK, 0, SPACE, str(seconds))

    async def refresh(self) -> None:
        await self.store.recount()

    async def narrow(self, room: int) -> None:
        await self._warm_up()
        used = self.server.ask("INFO", "memory")["used_memory"]
        self.server.ask("CONFIG", "SET", "maxmemory", used + room)

    def fill(self) -> None:
        """Leave no room at all."""
        self.server.ask("CONFIG", "SET", "maxmemory", 1)

    async def _warm_up(self) -> None:
        """Connections, and what the server notes down of each command, take more room than a test is given."""
        with contextlib.suppress(redis.ResponseError):  # older ones have no such histograms
            self.server.ask("CONFIG", "SET", "latency-tracking", "no")
        subject = Subject("", "", "", "x" * 2 * KIB, "")
        for token, what in (("t1", Concluded.UNKNOWN), ("t2", Concluded.DONE)):
            await self.store.reserve(Claim(_WARM, token, "", 60.0, 60.0, 0.0, "", resend=True, subject=subject))
            await self.store.finish(_WARM, token, Conclusion(what, answer=Answer(200, b"", (), bytes(16 * KIB))))
        self.server.ask("DEL", SPACE + _WARM)
        self.server.ask("ZREM", f"{SPACE}answers", _WARM)

    async def close(self) -> None:
        for store in self._made:
            await store.close()
        await self._clock.stop()
        self._asking.close()
        assert not self.unhandled, self.unhandled


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of what a server may forget, in its order."""
    said = [record for record in caplog.records if record.getMessage() == "ledger may forget"]
    assert all(record.levelno == logging.WARNING for record in said)
    return [str(record.__dict__["why"]) for record in said]
