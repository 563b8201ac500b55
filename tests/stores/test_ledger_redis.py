"""The ledger on a real server: the contract, what is on the server, what is believed of it, and what it may forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Found, State
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_redis import RedisLedger, weaknesses
from tests.stores.ledger_suite import (
    DAY,
    RELEASED,
    SUBJECT,
    UNKNOWN,
    LedgerContract,
    claim,
    compare_with_the_rules,
    done,
    named,
    seen,
    tell,
)
from tests.support.answers import KIB, until
from tests.support.redis_ledger import SPACE, RedisBench, warnings
from tests.support.redis_server import RedisServer

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
SETTINGS = {
    "appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory": "0",
    "maxmemory-policy": "noeviction", "replicas": "0",
}  # fmt: skip
RESTART = "a restart forgets every record"


@pytest.fixture
async def bench(redis_server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(redis_server)
    yield bench
    await bench.close()


@pytest.fixture
def store(bench: RedisBench) -> RedisLedger:
    return bench.store


def place(key: str) -> str:
    """Where a record is on the server."""
    return SPACE + named(key)


class TestRedisLedger(LedgerContract):
    @pytest.fixture
    async def ledger(self, bench: RedisBench) -> RedisBench:
        return bench


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_does_what_the_rules_do(redis_server: RedisServer) -> None:
    """Lua and Python are two writings of one table."""

    async def opened() -> RedisBench:
        redis_server.ask("FLUSHALL")
        return RedisBench(redis_server)

    compare_with_the_rules(opened, examples=30, steps=30)


# --- what is on the server ---


async def test_everything_is_under_one_prefix_and_expires(redis_server: RedisServer, store: RedisLedger) -> None:
    """A server that others use too is not littered."""
    await store.reserve(claim("a"))
    await store.reserve(claim("b"))
    await tell(store, done(), "b")
    names = {name.decode() for name in redis_server.ask("KEYS", "*")}
    assert names == {place("a"), place("b"), *[SPACE + name for name in ("open", "ends", "answers")]}
    assert all(redis_server.ask("PTTL", name) > 0 for name in names)


async def test_a_record_expires_when_it_may_be_forgotten(redis_server: RedisServer, store: RedisLedger) -> None:
    """To the millisecond, never while its owner has a lease; the sets outlive it."""
    await store.reserve(claim("kept", lease=60.0, retain=1_000.0))
    await store.reserve(claim("leased", lease=2_000.0, retain=1_000.0))
    for key, expected in (("kept", 1_000), ("leased", 2_000)):
        assert expected - 30 < redis_server.ask("PTTL", place(key)) / 1_000 <= expected
    await tell(store, UNKNOWN, "leased")
    assert 970 < redis_server.ask("PTTL", place("leased")) / 1_000 <= 1_000
    assert redis_server.ask("PTTL", f"{SPACE}open") / 1_000 > 2_000


async def test_what_is_over_leaves_nothing(redis_server: RedisServer, bench: RedisBench) -> None:
    """Released, settled or expired: when the last record goes, so do the sets."""
    for key in ("released", "absent", "old", "answered"):
        await bench.store.reserve(claim(key))
    await tell(bench.store, RELEASED, "released")
    await tell(bench.store, UNKNOWN, "absent")
    await tell(bench.store, done(), "answered")
    await bench.store.settle(named("absent"), done=False)
    await bench.pass_time(DAY + 100.0)
    await bench.refresh()
    assert redis_server.ask("KEYS", "*") == []


async def test_expired_records_leave_the_sets_step_by_step(redis_server: RedisServer, bench: RedisBench) -> None:
    """A reservation is not made to wait for all of them; those that are still there do not count."""
    for number in range(200):
        await bench.store.reserve(claim(f"k{number}", f"t{number}"))
    await bench.pass_time(DAY + 100.0)
    left = []
    for _ in range(4):
        await bench.refresh()
        assert bench.store.unknown == 0
        left.append(redis_server.ask("ZCARD", f"{SPACE}open"))
    assert left == [136, 72, 8, 0]


async def test_a_record_that_the_server_lost_is_not_in_doubt_for_ever(
    redis_server: RedisServer, store: RedisLedger
) -> None:
    """Evicted, or deleted by somebody: the next list is rid of it."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    redis_server.ask("DEL", place("k"))
    assert await store.unsettled(api=None, limit=10) == []
    await store.recount()
    assert store.unknown == 0


async def test_hundreds_are_listed(bench: RedisBench) -> None:
    """In more than one part, with the server at others' disposal in between; the oldest of them all come first."""
    for number in range(300):
        await bench.store.reserve(claim(f"k{number}", f"t{number}", subject=SUBJECT._replace(key=str(number))))
        if number % 2:
            await tell(bench.store, UNKNOWN, f"k{number}", f"t{number}")
    listed = await bench.store.unsettled(api=None, limit=20)
    assert [record.subject.key for record in listed] == [str(number) for number in range(1, 40, 2)]
    assert len(await bench.store.unsettled(api="pay", limit=1_000)) == 150


async def test_the_server_is_never_scanned(redis_server: RedisServer, store: RedisLedger) -> None:
    """Lists go by the sets, on a server with millions of keys of others."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    await store.unsettled(api=None, limit=10)
    await store.look(named("k"))
    used = {name.removeprefix("cmdstat_") for name in redis_server.ask("INFO", "commandstats")}
    assert not used & {"keys", "scan", "flushdb", "flushall", "randomkey"}


async def test_each_transition_is_one_round_trip(redis_server: RedisServer, store: RedisLedger) -> None:
    """Once the time of the server is known."""
    await store._link._beginning
    redis_server.ask("CONFIG", "RESETSTAT")
    await store.reserve(claim())
    await store.renew(named("k"), "e1-1", 60.0)
    await tell(store, UNKNOWN)
    await store.settle(named("k"), done=True)
    statistics = redis_server.ask("INFO", "commandstats")
    assert statistics["cmdstat_evalsha"]["calls"] == 4
    assert "cmdstat_eval" not in statistics


async def test_a_server_that_forgot_the_script_gets_it_again(redis_server: RedisServer, store: RedisLedger) -> None:
    """As after a restart."""
    await store.reserve(claim())
    redis_server.ask("SCRIPT", "FLUSH")
    assert await tell(store, done())
    redis_server.ask("SCRIPT", "FLUSH")
    assert (await store.reserve(claim(token="e1-2"))).found is Found.DONE


async def test_other_versions_are_left_alone(redis_server: RedisServer, store: RedisLedger) -> None:
    """What they wrote is not looked at, not counted and not listed."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    for name in (place("k"), f"{SPACE}open", f"{SPACE}ends"):
        redis_server.ask("COPY", name, name.replace(":1:", ":2:"))
        redis_server.ask("DEL", name)
    await store.recount()
    assert (store.unknown, await store.look(named("k"))) == (0, None)
    assert (await store.reserve(claim())).found is Found.OWNED


async def test_what_becomes_unknown_by_time_alone_is_heard(bench: RedisBench) -> None:
    """Without a call, within seconds."""
    store = bench.make(refresh=0.01)
    await store.reserve(claim())
    assert store.unknown == 0
    await bench.pass_time(100.0)
    await until(lambda: store.unknown == 1)
    assert repr(store) == "<RedisLedger <Link redis up>, 1 unknown>"


async def test_its_time_is_the_servers(redis_server: RedisServer, store: RedisLedger) -> None:
    """Whoever shows a record can say how old it is."""
    await store.reserve(claim())
    seconds, _ = redis_server.ask("TIME")
    assert abs(store.now() - seconds) < 30
    assert 0 <= store.now() - (await seen(store)).created < 30


# --- what is believed ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answer", b""),
        ("answer", b"x" * 100),
        ("subject", b"null"),
        ("subject", b'["' + named("other").encode() + b'","pay","charges","POST","/","k"]'),
        ("created", b"nan"),
        ("created", b"soon"),
        ("status", b"9999"),
        ("token", b"\xff"),
        ("doubt", b"2"),
    ],
)
async def test_what_is_no_record_is_an_error(
    redis_server: RedisServer, store: RedisLedger, name: str, value: bytes
) -> None:
    """Never a wrong answer, and never a call that is made again; the server is not away for that."""
    await store.reserve(claim())
    await tell(store, done(b"paid"))
    redis_server.ask("HSET", place("k"), name, value)
    for work in (store.reserve(claim(token="e1-2")), store.look(named("k"))):
        with pytest.raises(StoreError, match=r"redis: (reserve|look): no record of a call"):
            await work
    assert (store.up, store.malformed) == (True, 2)


@pytest.mark.parametrize("damage", [("HDEL", "state"), ("HDEL", "kept_until"), ("HSET", "retain", "long")])
async def test_what_the_server_cannot_read_is_an_error(
    redis_server: RedisServer, store: RedisLedger, damage: tuple[str, ...]
) -> None:
    """And is left as it is."""
    await store.reserve(claim())
    command, *words = damage
    redis_server.ask(command, place("k"), *words)
    before = redis_server.ask("HGETALL", place("k"))
    for work in (store.reserve(claim()), store.reserve(claim(token="e1-2", resend=True)), tell(store, done())):
        with pytest.raises(StoreError, match="not a record of a call"):
            await work
    assert redis_server.ask("HGETALL", place("k")) == before
    assert store.up


async def test_a_value_of_another_type_is_an_error(redis_server: RedisServer, store: RedisLedger) -> None:
    """The server is there, and says no."""
    redis_server.ask("SET", place("k"), "x")
    with pytest.raises(StoreError, match=r"redis: reserve: .*WRONGTYPE"):
        await store.reserve(claim())
    assert store.up


async def test_a_record_under_another_name_is_not_believed(redis_server: RedisServer, store: RedisLedger) -> None:
    """Whatever went wrong on the server: nobody gets another's answer."""
    await store.reserve(claim("mine"))
    await tell(store, done(), "mine")
    redis_server.ask("COPY", place("mine"), place("yours"))
    with pytest.raises(StoreError, match="another name"):
        await store.reserve(claim("yours", "e1-2"))
    assert (await store.reserve(claim("mine", "e1-2"))).found is Found.DONE


async def test_what_is_no_record_is_not_listed(redis_server: RedisServer, store: RedisLedger) -> None:
    """And hides none of the others."""
    for key in ("a", "b", "c"):
        await store.reserve(claim(key))
        await tell(store, UNKNOWN, key)
    redis_server.ask("HSET", place("a"), "subject", "?")
    redis_server.ask("SET", place("b"), "x")
    redis_server.ask("ZADD", f"{SPACE}open", 1, b"\xff")
    assert [record.ident for record in await store.unsettled(api=None, limit=10)] == [named("c")]


# --- room ---


async def test_a_server_full_of_other_things_keeps_the_outcome_without_its_answer(bench: RedisBench) -> None:
    """It can tell what is known of a call at any time: that needs no room."""
    await bench.store.reserve(claim())
    bench.fill()
    assert await tell(bench.store, done(b"x" * 4 * KIB, status=201))
    record = await seen(bench.store)
    assert (record.state, record.status, record.answer) == (State.DONE, 201, None)
    assert bench.store.evictions == 1
    with pytest.raises(LedgerFull, match="redis: reserve: the server is out of memory"):
        await bench.store.reserve(claim("new"))
    assert bench.store.up


async def test_answers_of_records_that_are_gone_make_no_room(bench: RedisBench) -> None:
    """They are passed over, until there is one that does."""
    for key in ("gone", "there"):
        await bench.store.reserve(claim(key))
        await tell(bench.store, done(b"x" * 32 * KIB), key)
    bench.server.ask("DEL", place("gone"))
    bench.fill()
    assert (await bench.store.reserve(claim("new"))).found is Found.OWNED
    assert (await seen(bench.store, "there")).answer is None
    assert bench.store.evictions == 1


async def test_a_doubt_can_be_ended_on_a_full_server(bench: RedisBench) -> None:
    """By a person, and by making the call again."""
    for key in ("settled", "again"):
        await bench.store.reserve(claim(key))
        await tell(bench.store, UNKNOWN, key)
    bench.fill()
    assert await bench.store.settle(named("settled"), done=True)
    assert (await bench.store.reserve(claim("again", "e1-2", resend=True))).found is Found.OWNED


# --- what it may forget ---


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"maxmemory": "1"}, []),
        ({"maxmemory-policy": "allkeys-lru"}, []),
        ({"appendonly": "no", "appendfsync": "everysec"}, [RESTART]),
        ({"appendfsync": "everysec"}, ["a crash forgets the last records (appendfsync everysec)"]),
        ({"no-appendfsync-on-rewrite": "yes"}, ["a crash during a rewrite forgets"]),
        (
            {"maxmemory": "1", "maxmemory-policy": "volatile-ttl"},
            ["records may be evicted (maxmemory-policy volatile-ttl); set maxmemory-policy noeviction"],
        ),
        ({"replicas": "2"}, ["a failover forgets"]),
        ({"appendonly": "no", "replicas": "1"}, [RESTART, "a failover forgets"]),
    ],
)
def test_what_a_server_may_forget_is_said(changed: dict[str, str], expected: list[str]) -> None:
    """With what is to be done about it."""
    said = weaknesses({**SETTINGS, **changed})
    assert len(said) == len(expected)
    assert all(word.startswith(start) for word, start in zip(said, expected, strict=True))


@pytest.mark.parametrize("untold", ["appendonly", "maxmemory-policy"])
def test_settings_that_are_not_told_are_no_good_sign(untold: str) -> None:
    """An old server or a managed one tells less."""
    (weakness,) = weaknesses({name: value for name, value in SETTINGS.items() if name != untold})
    assert "not known what it may forget" in weakness


async def test_a_server_that_keeps_its_word_has_no_weakness(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a file that is written before each answer."""
    server = RedisServer(tmp_path, *DURABLE).start()
    try:
        bench = RedisBench(server)
        await bench.store._link._beginning
        assert (bench.store.weaknesses, warnings(caplog)) == ((), [])
        await bench.close()
    finally:
        server.kill()


async def test_a_weakness_is_logged_once(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """And another one when it is found, at the next greeting."""
    bench = RedisBench(redis_server, pause=0.01)
    store = bench.store
    await store._link._beginning
    for setting, value in ((None, ""), ("appendonly", "yes"), ("appendfsync", "always"), ("appendonly", "no")):
        if setting is not None:
            redis_server.ask("CONFIG", "SET", setting, value)
        store._link.fall("as it happens")
        await until(lambda: store.up)
    assert [word.split(";")[0] for word in warnings(caplog)] == [
        RESTART,
        "a crash forgets the last records (appendfsync everysec)",
        RESTART,
    ]
    await bench.close()


async def test_a_server_that_does_not_tell_its_settings(
    redis_server: RedisServer, bench: RedisBench, caplog: pytest.LogCaptureFixture
) -> None:
    """It works, with a warning that it cannot be told."""
    redis_server.ask("ACL", "SETUSER", "backstay", "on", ">secret", "~backstay:*", "+@all", "-config", "-info")
    store = bench.make(redis_server.url.replace("//", "//backstay:secret@"))
    await store._link._beginning
    assert ["does not tell its settings" in word for word in store.weaknesses] == [True]
    assert store.weaknesses[0] in warnings(caplog)
    assert (await store.reserve(claim())).found is Found.OWNED


async def test_a_replica_that_may_take_over_is_a_weakness(redis_server: RedisServer, bench: RedisBench) -> None:
    """What was told the primary reaches it a little later."""
    folder = redis_server.folder / "replica"
    folder.mkdir()
    replica = RedisServer(folder, "--replicaof", "127.0.0.1", str(redis_server.port)).start()
    try:
        await until(lambda: redis_server.ask("INFO", "replication")["connected_slaves"] == 1)
        store = bench.make()
        await store._link._beginning
        assert [word.split(" ")[1] for word in store.weaknesses] == ["restart", "failover"]
    finally:
        replica.kill()


# --- its ends ---


@pytest.mark.parametrize("url", ["", "h:6379", "http://h", "redis://:secret@h?unknown=secret"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    """At once, and without its secrets."""
    clock = Clock(asyncio.get_running_loop())
    with pytest.raises(ValueError, match="not the url of a Redis server") as caught:
        RedisLedger(url, clock)
    assert "sec" not in str(caught.value)


async def test_close_leaves_no_connection_behind(redis_server: RedisServer, store: RedisLedger) -> None:
    """And whoever comes later is told."""
    await asyncio.gather(*[store.reserve(claim(f"k{number}")) for number in range(10)])
    await store.close()
    await until(lambda: redis_server.ask("CLIENT", "LIST").count(b"flags=") == 1)
    with pytest.raises(StoreError, match="closed"):
        await store.reserve(claim())
