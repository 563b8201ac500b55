"""A server that is killed, paused, cut off, or talks nonsense; and that nothing forgotten comes back with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from proxy.stores.base import StoreError
from proxy.stores.redis import RedisStore
from tests.stores.conftest import MakeRedis
from tests.support.answers import GENEROUS, answer, same, until
from tests.support.process import closed_port
from tests.support.redis_server import RedisServer

LONG = 600.0
SHORT = 0.1  # seconds: what a paused server is given
PAUSE = 0.05  # seconds between two greetings


@pytest.fixture
async def store(redis_server: RedisServer, make_redis: MakeRedis) -> AsyncIterator[RedisStore]:
    """A store that is patient until it is told to ``hurry``, and asks soon whether the server is back."""
    store = make_redis(redis_server.url, pause=PAUSE)
    await store.put("key", answer(b"old"), LONG)
    yield store
    redis_server.resume()


def hurry(store: RedisStore, *, limit: float = SHORT) -> None:
    store._limit = store._link._limit = limit


async def goes_down(store: RedisStore, redis_server: RedisServer) -> None:
    """The server is paused, and the store has noticed."""
    redis_server.pause()
    hurry(store)
    with pytest.raises(StoreError, match="no answer in 100 ms"):
        await store.get("any")
    assert not store.up


async def comes_back(store: RedisStore, redis_server: RedisServer) -> None:
    hurry(store, limit=GENEROUS)
    redis_server.resume()
    await until(lambda: store.up)


async def refused(work: Coroutine[Any, Any, Any]) -> str:
    """Why an operation failed."""
    with pytest.raises(StoreError) as caught:
        await work
    return str(caught.value)


# --- it goes and comes ---


async def test_every_operation_fails_at_once_while_it_is_away(redis_server: RedisServer, store: RedisStore) -> None:
    """With the reason; none takes the time that it would take to find out again."""
    await goes_down(store, redis_server)
    began = time.monotonic()
    operations: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: store.get("key"),
        lambda: store.put("key", answer(), LONG),
        lambda: store.delete(["key"]),
        lambda: store.entries(api=None, route=None, limit=10),
        lambda: store.look("0" * 32),
        store.purge,
        lambda: store.purge(api="search"),
        lambda: store.purge(ident="0" * 32),
    ]
    words = [await refused(operation()) for operation in operations]
    assert [word.split(": ")[1] for word in words] == [
        "get", "put", "delete", "list", "look", "purge", "purge", "look",
    ]  # fmt: skip
    assert time.monotonic() - began < len(operations) * SHORT / 2


async def test_a_killed_server_is_noticed_and_found_again(redis_server: RedisServer, store: RedisStore) -> None:
    """Started anew at its address, it serves; what it had kept is gone with it."""
    redis_server.kill()
    assert "redis: get" in await refused(store.get("key"))
    assert not store.up
    redis_server.start()
    await until(lambda: store.up)
    assert await store.get("key") is None
    await store.put("key", answer(b"new"), LONG)
    assert same(await store.get("key"), answer(b"new"))


async def test_a_server_that_starts_later_than_we_do(redis_server: RedisServer, make_redis: MakeRedis) -> None:
    """The store is down from the start, without a call, and comes up by itself."""
    redis_server.kill()
    store = make_redis(redis_server.url, pause=PAUSE)
    await until(lambda: not store.up)
    assert "Connect call failed" in store.why or "refused" in store.why
    redis_server.start()
    await until(lambda: store.up)
    await store.put("key", answer(), LONG)


async def test_a_paused_server_costs_each_caller_its_limit_once(redis_server: RedisServer, store: RedisStore) -> None:
    """Fifty at once all wait for the same tenth of a second."""
    redis_server.pause()
    hurry(store)
    began = time.monotonic()
    outcomes = await asyncio.gather(*[store.get("key") for _ in range(50)], return_exceptions=True)
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert SHORT * 0.9 < time.monotonic() - began < 10 * SHORT


async def test_a_paused_server_that_goes_on_has_what_it_had(redis_server: RedisServer, store: RedisStore) -> None:
    """Nothing is lost by a pause."""
    await goes_down(store, redis_server)
    await comes_back(store, redis_server)
    assert same(await store.get("key"), answer(b"old"))


async def test_connections_that_the_server_closed_are_no_outage(redis_server: RedisServer, store: RedisStore) -> None:
    """As after its ``timeout``, or a restart between two calls."""
    await asyncio.gather(*[store.get("key") for _ in range(10)])
    redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with contextlib.suppress(StoreError):  # the first may still find its connection alive
        await store.get("key")
    await until(lambda: store.up)
    assert same(await store.get("key"), answer(b"old"))


async def test_a_server_killed_in_mid_traffic_harms_nobody(redis_server: RedisServer, store: RedisStore) -> None:
    """Whatever was under way: each read gives its own answer, nothing, or StoreError."""
    outcomes: list[str] = []
    over = asyncio.Event()

    async def caller(number: int) -> None:
        turn = 0
        while not over.is_set():
            key, turn = f"{number}:{turn % 10}", turn + 1
            try:
                await store.put(key, answer(key.encode()), LONG)
                value = await store.get(key)
            except StoreError:
                outcomes.append("error")
                await asyncio.sleep(0.01)
                continue
            assert value is None or same(value, answer(key.encode()))
            outcomes.append("miss" if value is None else "hit")

    async def hits(count: int) -> None:
        before = outcomes.count("hit")
        await until(lambda: outcomes.count("hit") >= before + count)

    callers = [asyncio.create_task(caller(number)) for number in range(20)]
    await hits(200)
    redis_server.kill()
    await until(lambda: not store.up)
    redis_server.start()
    await hits(200)
    over.set()
    await asyncio.gather(*callers)
    assert "error" in outcomes


# --- nobody gets another's reply ---


async def test_a_reply_that_comes_too_late_is_nobodys(redis_server: RedisServer, store: RedisStore) -> None:
    """The connection of a command that was given up is closed."""
    await store.put("other", answer(b"other"), LONG)
    redis_server.pause()
    hurry(store)
    await asyncio.gather(*[store.get("key") for _ in range(5)], return_exceptions=True)
    await comes_back(store, redis_server)
    values = await asyncio.gather(*[store.get("other") for _ in range(20)])
    assert all(same(value, answer(b"other")) for value in values)
    assert store.malformed == 0


async def test_a_cancelled_reader_leaves_no_reply_behind(redis_server: RedisServer, store: RedisStore) -> None:
    """An agent that goes away in the middle is no fault of the server's: the store stays up."""
    await store.put("other", answer(b"other"), LONG)
    redis_server.pause()
    readers = [asyncio.create_task(store.get("key")) for _ in range(5)]
    await until(lambda: len(store._pool._in_use_connections) == 5)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    redis_server.resume()
    values = await asyncio.gather(*[store.get("other") for _ in range(20)])
    assert all(same(value, answer(b"other")) for value in values)
    assert (store.up, store.malformed) == (True, 0)


# --- what was forgotten stays forgotten ---


async def test_what_was_deleted_while_it_was_away_is_gone(redis_server: RedisServer, store: RedisStore) -> None:
    """Before the first reader is served."""
    await store.put("other", answer(b"other"), LONG)
    await goes_down(store, redis_server)
    assert "redis: delete" in await refused(store.delete(["key", "never there"]))
    await comes_back(store, redis_server)
    assert await store.get("key") is None
    assert same(await store.get("other"), answer(b"other"))


async def test_a_deletion_that_got_no_answer_is_made_again(redis_server: RedisServer, store: RedisStore) -> None:
    """The one by which the outage was noticed."""
    redis_server.pause()
    hurry(store)
    assert "no answer" in await refused(store.delete(["key"]))
    assert repr(store).endswith("1 to delete>")
    await comes_back(store, redis_server)
    assert await store.get("key") is None
    assert repr(store).endswith("0 to delete>")


async def test_thousands_of_deletions_are_remembered(redis_server: RedisServer, store: RedisStore) -> None:
    """In more than one command; what was not deleted is served."""
    keys = [f"key {number}" for number in range(1_200)]
    for key in keys:
        await store.put(key, answer(key.encode()), LONG)
    await goes_down(store, redis_server)
    await refused(store.delete(keys))
    await comes_back(store, redis_server)
    assert [await store.get(key) for key in keys] == [None] * 1_200
    assert same(await store.get("key"), answer(b"old"))


async def test_after_too_many_nothing_older_is_believed(redis_server: RedisServer, store: RedisStore) -> None:
    """Which ones were to be deleted nobody knows any more; what is newer is served."""
    await goes_down(store, redis_server)
    await refused(store.delete([f"unknown {number}" for number in range(10_001)]))
    await refused(store.delete(["one more"]))
    assert repr(store).endswith("0 to delete>")
    await comes_back(store, redis_server)
    assert await store.get("key") is None
    assert await store.entries(api=None, route=None, limit=10) == []
    new = answer(b"new", received_at=store.not_before)
    await store.put("key", new, LONG)
    assert same(await store.get("key"), new)


async def test_a_deletion_goes_on_when_its_caller_is_cancelled(redis_server: RedisServer, store: RedisStore) -> None:
    """The agent of an unsafe request goes away: what it changed must not be served from before."""
    redis_server.pause()
    deletion = asyncio.create_task(store.delete(["key"]))
    await until(lambda: len(store._pool._in_use_connections) == 1)
    deletion.cancel()
    await asyncio.gather(deletion, return_exceptions=True)
    redis_server.resume()
    await until(lambda: not store._pool._in_use_connections)
    assert await store.get("key") is None


async def test_what_is_stored_too_late_is_not_stored(redis_server: RedisServer, store: RedisStore) -> None:
    """A paused server reads it when it goes on; its sender has given up, and somebody may have deleted it since."""
    redis_server.pause()
    hurry(store)
    assert "no answer" in await refused(store.put("late", answer(), LONG))
    await comes_back(store, redis_server)
    assert await store.get("late") is None
    assert redis_server.ask("ZCARD", "backstay:cache:1:index:search") == 1


async def test_a_server_whose_clock_moves_refuses_once(store: RedisStore) -> None:
    """As after a failover: the refusal tells its time, and the next answer is stored."""
    assert store._ahead is not None
    store._ahead -= 3_600.0
    assert "clock has moved" in await refused(store.put("key", answer(b"new"), LONG))
    assert store.up
    await store.put("key", answer(b"new"), LONG)
    assert same(await store.get("key"), answer(b"new"))


async def test_a_server_that_refuses_to_delete_is_not_read(redis_server: RedisServer, make_redis: MakeRedis) -> None:
    """A cache that forgets nothing must not answer; once it may delete, it is up again, and has."""
    redis_server.ask("ACL", "SETUSER", "backstay", "on", ">secret", "~*", "+@all", "-unlink")
    url = redis_server.url.replace("//", "//backstay:secret@")
    store = make_redis(url, pause=PAUSE)
    await store.put("key", answer(), LONG)
    assert "permissions" in await refused(store.delete(["key"]))
    assert not store.up
    redis_server.ask("ACL", "SETUSER", "backstay", "+unlink")
    await until(lambda: store.up)
    assert await store.get("key") is None


# --- it is no such server ---


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b":x\r\n", b"*2\r\n+PONG\r\n:x\r\n", b"\xff" * 100, b"-ERR no\r\n" * 9],
)
async def test_a_server_that_talks_nonsense_is_away(reply: bytes, make_redis: MakeRedis) -> None:
    """Whatever the client makes of it, callers see StoreError and nothing else."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        store = make_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", pause=PAUSE)
        for work in (store.get("key"), store.put("key", answer(), LONG), store.delete(["key"]), store.purge()):
            assert (await refused(work)).startswith("redis: ")
        await until(lambda: not store.up)
        await store.close()


async def test_nobody_listens(make_redis: MakeRedis) -> None:
    """A port that refuses connections fails the first call, and no other has to wait."""
    with closed_port() as port:
        store = make_redis(f"redis://127.0.0.1:{port}")
        assert "redis: get" in await refused(store.get("key"))
        assert not store.up
