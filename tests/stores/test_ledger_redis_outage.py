"""A server that is paused, killed, cut off, may not be written or talks nonsense: no call is made twice for that."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.idempotency import Found, State
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_redis import RedisLedger
from tests.stores.ledger_suite import RELEASED, UNKNOWN, claim, done, named, seen, tell
from tests.support.answers import GENEROUS, until
from tests.support.process import closed_port
from tests.support.redis_ledger import SPACE, RedisBench
from tests.support.redis_server import RedisServer

SHORT = 0.1  # seconds: what a paused server is given
PAUSE = 0.05  # seconds between two greetings


@pytest.fixture
async def bench(redis_server: RedisServer) -> AsyncIterator[RedisBench]:
    """Its stores are patient until they are told to ``hurry``, and ask soon whether the server is back."""
    bench = RedisBench(redis_server, pause=PAUSE)
    await bench.store._link._beginning
    yield bench
    redis_server.resume()
    await bench.close()


@pytest.fixture
def store(bench: RedisBench) -> RedisLedger:
    return bench.store


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that has on its disk what it has answered."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        yield server.start()
    finally:
        server.kill()


def hurry(store: RedisLedger, *, limit: float = SHORT) -> None:
    store._limit = store._link._limit = limit


async def comes_back(store: RedisLedger, server: RedisServer) -> None:
    hurry(store, limit=GENEROUS)
    server.resume()
    await until(lambda: store.up)


async def refused(work: Coroutine[Any, Any, Any]) -> str:
    """Why an operation failed."""
    with pytest.raises(StoreError) as caught:
        await work
    return str(caught.value)


async def is_given_up(store: RedisLedger, server: RedisServer, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """The server has been sent the command, and reads it when its sender has gone."""
    server.pause()
    hurry(store)
    assert "no answer in 100 ms" in await refused(work())
    assert not store.up
    await comes_back(store, server)


# --- what is read too late ---


async def test_a_reservation_that_is_read_too_late_is_none(redis_server: RedisServer, store: RedisLedger) -> None:
    """Its sender has gone away: nobody would make the call, and nobody else could."""
    await is_given_up(store, redis_server, lambda: store.reserve(claim()))
    assert redis_server.ask("EXISTS", SPACE + named("k"), f"{SPACE}open") == 0
    assert (await store.reserve(claim(token="e1-2"))).found is Found.OWNED


async def test_a_reservation_again_that_is_read_too_late_is_none(redis_server: RedisServer, store: RedisLedger) -> None:
    """The doubt about the call stays as it was."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    await is_given_up(store, redis_server, lambda: store.reserve(claim(token="e1-2", resend=True)))
    record = await seen(store)
    assert (record.state, record.token, record.number) == (State.UNKNOWN, "e1-1", 1)


async def test_a_renewal_that_is_read_too_late_is_none(redis_server: RedisServer, store: RedisLedger) -> None:
    """The owner may have ended the call since, and nobody would be at it."""
    _, before = await store.reserve(claim())
    await is_given_up(store, redis_server, lambda: store.renew(named("k"), "e1-1", 600.0))
    assert (await seen(store)).lease_until == before.lease_until


@pytest.mark.parametrize("says", [False, True])
async def test_a_settlement_that_is_read_too_late_is_none(
    redis_server: RedisServer, store: RedisLedger, *, says: bool
) -> None:
    """The person was told that it failed; the doubt may be about another call by then."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    await is_given_up(store, redis_server, lambda: store.settle(named("k"), done=says))
    assert (await seen(store)).state is State.UNKNOWN


async def test_an_outcome_that_is_read_late_is_true(redis_server: RedisServer, store: RedisLedger) -> None:
    """It is its owner's; told again, it is true again."""
    await store.reserve(claim())
    await is_given_up(store, redis_server, lambda: tell(store, done(b"paid")))
    await until(lambda: redis_server.ask("HGET", SPACE + named("k"), "state") == b"done")
    assert await tell(store, done(b"paid"))
    assert (await seen(store)).answer == done(b"paid").answer


async def test_an_outcome_that_is_read_late_is_its_owners_alone(
    redis_server: RedisServer, bench: RedisBench, store: RedisLedger
) -> None:
    """Somebody else owns the call by then, and is still at it."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    other = await bench.second()
    await other.reserve(claim(token="e2-1", resend=True))
    await is_given_up(store, redis_server, lambda: tell(store, RELEASED))
    record = await seen(store)
    assert (record.state, record.token) == (State.RUNNING, "e2-1")


# --- answers that are lost ---


class Relay:
    """Between a store and its server: ``lose`` answers are lost, each with its connection."""

    def __init__(self, port: int) -> None:
        self.lose = 0
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, commands = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._carry(reader, commands), self._carry(answers, writer, answer=True))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool = False) -> None:
        try:
            while data := await reader.read(65_536):
                if answer and self.lose:
                    self.lose -= 1
                    return
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def relay(redis_server: RedisServer, bench: RedisBench) -> AsyncIterator[tuple[Relay, RedisLedger]]:
    """A relay, and a store that has heard its server through it."""
    relay = Relay(redis_server.port)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        store = bench.make(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", pause=PAUSE)
        await store._link._beginning
        yield relay, store
        await store.close()


async def loses(relay: Relay, store: RedisLedger, work: Coroutine[Any, Any, Any]) -> None:
    """The server does it, and nobody hears of it."""
    relay.lose = 1
    await refused(work)
    await until(lambda: store.up)


async def test_a_reservation_whose_answer_is_lost_can_be_repeated(relay: tuple[Relay, RedisLedger]) -> None:
    """It is the same one, not somebody else's."""
    link, store = relay
    await loses(link, store, store.reserve(claim()))
    assert (await seen(store)).state is State.RUNNING
    found, record = await store.reserve(claim())
    assert (found, record.number, record.doubt) == (Found.OWNED, 1, False)


async def test_a_reservation_again_whose_answer_is_lost_can_be_repeated(relay: tuple[Relay, RedisLedger]) -> None:
    """In doubt as it was, and counted once."""
    link, store = relay
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    again = claim(token="e1-2", resend=True)
    await loses(link, store, store.reserve(again))
    found, record = await store.reserve(again)
    assert (found, record.number, record.doubt) == (Found.OWNED, 2, True)


@pytest.mark.parametrize("conclusion", [done(b"paid"), UNKNOWN], ids=["done", "unknown"])
async def test_an_outcome_whose_answer_is_lost_can_be_repeated(
    relay: tuple[Relay, RedisLedger], conclusion: Any
) -> None:
    """It is true each time."""
    link, store = relay
    await store.reserve(claim())
    await loses(link, store, tell(store, conclusion))
    record = await seen(store)
    assert (record.state.value, record.answer) == (conclusion.what.value, conclusion.answer)
    assert await tell(store, conclusion)


async def test_a_reservation_whose_answer_is_lost_can_be_given_back(relay: tuple[Relay, RedisLedger]) -> None:
    """Whoever has gone away leaves nothing behind."""
    link, store = relay
    await loses(link, store, store.reserve(claim()))
    assert await tell(store, RELEASED)
    assert await store.look(named("k")) is None


# --- it goes and comes ---


async def test_every_operation_fails_at_once_while_it_is_away(redis_server: RedisServer, store: RedisLedger) -> None:
    """With the reason; none takes the time that it would take to find out again."""
    redis_server.pause()
    hurry(store)
    await refused(store.look(named("k")))
    began = time.monotonic()
    operations: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: store.reserve(claim()),
        lambda: store.renew(named("k"), "e1-1", 60.0),
        lambda: tell(store, done()),
        lambda: store.settle(named("k"), done=True),
        lambda: store.look(named("k")),
        lambda: store.unsettled(api=None, limit=10),
        store.recount,
    ]
    words = [await refused(operation()) for operation in operations]
    assert [word.split(": ")[1] for word in words] == ["reserve", "renew", "finish", "settle", "look", "list", "count"]
    assert time.monotonic() - began < len(operations) * SHORT / 2
    assert store.why == "no answer in 100 ms"


async def test_a_killed_server_has_what_it_was_told(durable: RedisServer) -> None:
    """With a file that is written before each answer: under way, done with its answer, and not known."""
    bench = RedisBench(durable, pause=PAUSE)
    for key in ("running", "done", "unknown"):
        await bench.store.reserve(claim(key))
    await tell(bench.store, done(b"paid" * 10_000), "done")
    await tell(bench.store, UNKNOWN, "unknown")
    durable.kill()
    assert "redis: look" in await refused(bench.store.look(named("done")))
    durable.start()
    await until(lambda: bench.store.up)
    founds = [(await bench.store.reserve(claim(key, "e1-2"))).found for key in ("running", "done", "unknown")]
    assert founds == [Found.RUNNING, Found.DONE, Found.UNKNOWN]
    assert (await seen(bench.store, "done")).answer == done(b"paid" * 10_000).answer
    assert await tell(bench.store, RELEASED, "running")
    await bench.close()


async def test_a_server_killed_in_mid_traffic_harms_nobody(durable: RedisServer) -> None:
    """Twenty callers in two places want the same calls: each has one owner, and no outcome that was told is lost."""
    bench = RedisBench(durable, pause=PAUSE)
    stores = [bench.store, bench.make(pause=PAUSE)]
    owners: defaultdict[str, set[str]] = defaultdict(set)
    told: list[str] = []
    over = asyncio.Event()

    async def caller(number: int) -> None:
        turn, store = 0, stores[number % 2]
        while not over.is_set():
            key, token, turn = f"{number // 4}:{turn}", f"e{number}-{turn}", turn + 1
            try:
                if (await store.reserve(claim(key, token))).found is Found.OWNED:
                    owners[key].add(token)
                    assert await tell(store, done(key.encode()), key, token)
                    told.append(key)
            except StoreError:
                await asyncio.sleep(0.01)

    async def more(count: int) -> None:
        before = len(told)
        await until(lambda: len(told) >= before + count)

    callers = [asyncio.create_task(caller(number)) for number in range(20)]
    await more(100)
    durable.kill()
    await until(lambda: not any(store.up for store in stores))
    durable.start()
    await more(100)
    over.set()
    await asyncio.gather(*callers)
    assert {len(tokens) for tokens in owners.values()} == {1}
    answers = [(await seen(bench.store, key)).answer for key in told]
    assert answers == [done(key.encode()).answer for key in told]
    await bench.close()


async def test_a_server_that_starts_later_than_we_do(redis_server: RedisServer, bench: RedisBench) -> None:
    """The store is down from the start, without a call, and comes up by itself."""
    redis_server.kill()
    store = bench.make(pause=PAUSE)
    await until(lambda: not store.up)
    assert "Connect call failed" in store.why or "refused" in store.why
    assert "redis: reserve" in await refused(store.reserve(claim()))
    redis_server.start()
    await until(lambda: store.up)
    assert (await store.reserve(claim())).found is Found.OWNED
    assert store.weaknesses != ()


async def test_connections_that_the_server_closed_are_no_outage(redis_server: RedisServer, store: RedisLedger) -> None:
    """As after its ``timeout``, or a restart between two calls."""
    await asyncio.gather(*[store.look(named(f"k{number}")) for number in range(10)])
    redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with contextlib.suppress(StoreError):  # the first may still find its connection alive
        await store.look(named("k"))
    await until(lambda: store.up)
    assert (await store.reserve(claim())).found is Found.OWNED


async def test_an_answer_that_comes_too_late_is_nobodys(redis_server: RedisServer, store: RedisLedger) -> None:
    """Given up or cancelled: its connection is closed, and the next command does not get it."""
    await store.reserve(claim("other", fingerprint="other"))
    redis_server.pause()
    leaving = [asyncio.create_task(store.look(named("k"))) for _ in range(3)]
    await until(lambda: len(store._pool._in_use_connections) == 3)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    hurry(store)
    await refused(store.look(named("k")))
    await comes_back(store, redis_server)
    records = await asyncio.gather(*[store.look(named("other")) for _ in range(20)])
    assert {record is not None and record.fingerprint for record in records} == {"other"}


async def test_close_finishes_what_was_begun(redis_server: RedisServer, bench: RedisBench) -> None:
    """What a call's owner tells at the end of the process is heard."""
    store = bench.make()
    await store._link._beginning
    await store.reserve(claim())
    redis_server.pause()
    telling = asyncio.create_task(tell(store, done()))
    await until(lambda: len(store._pool._in_use_connections) == 1)
    closing = asyncio.create_task(store.close())
    await until(lambda: not store.up)
    redis_server.resume()
    await closing
    assert await telling
    assert (await seen(bench.store)).state is State.DONE


# --- it may not be written, or is no such server ---


@pytest.mark.parametrize(
    ("forbid", "allow", "why"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only replica"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "NOREPLICAS",
        ),
    ],
    ids=["a replica", "too few replicas"],
)
async def test_a_server_that_may_not_be_written_is_away(
    redis_server: RedisServer, store: RedisLedger, forbid: tuple[str], allow: tuple[str], why: str
) -> None:
    """It may be the wrong one since a failover: connections are made anew until it is the right one."""
    redis_server.ask(*forbid)
    assert why in await refused(store.reserve(claim()))
    assert why in store.why
    redis_server.ask(*allow)
    await until(lambda: store.up)
    assert (await store.reserve(claim())).found is Found.OWNED


async def test_a_server_that_refuses_a_call_is_not_away(redis_server: RedisServer, bench: RedisBench) -> None:
    """Nor is it asked to do what it may not: who set it up is told why."""
    redis_server.ask("ACL", "SETUSER", "backstay", "on", ">secret", "~backstay:*", "+@all", "-hset")
    store = bench.make(redis_server.url.replace("//", "//backstay:secret@"))
    assert "can't run this command" in await refused(store.reserve(claim()))
    assert store.up


@pytest.mark.parametrize("hours", [-1.0, 1.0])
async def test_a_server_whose_clock_moves_is_still_a_ledger(
    redis_server: RedisServer, store: RedisLedger, hours: float
) -> None:
    """As after a failover: it tells its time with each answer."""
    store._ahead += hours * 3_600.0
    assert (await store.reserve(claim())).found is Found.OWNED
    assert abs(store.now() - redis_server.ask("TIME")[0]) < 30
    await is_given_up(store, redis_server, lambda: store.reserve(claim("late")))
    assert await store.look(named("late")) is None


async def test_a_server_that_is_always_late_reserves_nothing(store: RedisLedger) -> None:
    """Its clock moves with each command; it is asked twice, and is not away for that."""
    store._limit = -3_600.0
    assert "clock has moved" in await refused(store.reserve(claim()))
    assert store.up
    assert await store.look(named("k")) is None


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"\xff" * 100, b"-ERR no\r\n" * 9],
)
async def test_a_server_that_talks_nonsense_is_away(reply: bytes, bench: RedisBench) -> None:
    """Whatever the client makes of it, callers see StoreError and nothing else."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        store = bench.make(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", pause=PAUSE)
        for work in (store.reserve(claim()), tell(store, done()), store.unsettled(api=None, limit=1)):
            assert (await refused(work)).startswith("redis: ")
        await until(lambda: not store.up)
        await store.close()


async def test_a_server_that_refuses_every_command_for_want_of_memory_is_full(bench: RedisBench) -> None:
    """Some do, instead of refusing what a script would write."""
    greeting = b"*1\r\n$29\r\n1700000000.000000 0 0 counted\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            full = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
            told = greeting if b"count" in data else full if b"reserve" in data else b"-ERR no\r\n" * 6
            writer.write(told)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        store = bench.make(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(LedgerFull, match="redis: reserve: command not allowed"):
            await store.reserve(claim())
        assert store.up
        await store.close()


async def test_nobody_listens(bench: RedisBench) -> None:
    """A port that refuses connections fails the first call, and no other has to wait."""
    with closed_port() as port:
        store = bench.make(f"redis://127.0.0.1:{port}")
        assert "redis: reserve" in await refused(store.reserve(claim()))
        assert not store.up
