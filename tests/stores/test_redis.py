"""The store on a real server: what is on it, what is believed of it, and by which urls it is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from proxy.clock import Clock
from proxy.core.stored import Variants
from proxy.stores.base import StoreError, ident_of
from proxy.stores.redis import RedisStore
from tests.stores.conftest import MakeRedis
from tests.support.answers import KIB, answer, same, until
from tests.support.redis_server import RedisServer, tls_options

LONG = 600.0
SPACE = "backstay:cache:1:"
INDEX = f"{SPACE}index:search"


@pytest.fixture
def store(redis_server: RedisServer, make_redis: MakeRedis) -> RedisStore:
    return make_redis(redis_server.url)


def place(key: str) -> str:
    """Where a value is on the server."""
    return SPACE + ident_of(key)


# --- what is on the server ---


async def test_everything_is_under_one_prefix_and_expires(redis_server: RedisServer, store: RedisStore) -> None:
    """A server that others use too is not littered."""
    await store.put("key", answer(), 60.0)
    await store.put("variants", Variants("nonce"), 60.0)
    names = {name.decode() for name in redis_server.ask("KEYS", "*")}
    assert names == {place("key"), place("variants"), INDEX, f"{SPACE}apis"}
    assert all(redis_server.ask("PTTL", name) > 0 for name in names)


@pytest.mark.parametrize(("ttl", "expected"), [(60.0, 60_000), (7.5, 7_500), (30 * 86_400.0, 7 * 86_400_000)])
async def test_values_live_as_long_as_they_should(
    redis_server: RedisServer, store: RedisStore, ttl: float, expected: int
) -> None:
    """To the millisecond, and no longer than a week; the index outlives them."""
    await store.put("key", answer(), ttl)
    left = redis_server.ask("PTTL", place("key"))
    assert expected - 5_000 < left <= expected
    assert redis_server.ask("PTTL", INDEX) > left


async def test_keys_are_not_on_the_server_in_clear(redis_server: RedisServer, store: RedisStore) -> None:
    """They may tell of a caller; their digests do not."""
    await store.put("of a caller", answer(), LONG)
    assert not [name for name in redis_server.ask("KEYS", "*") if b"caller" in name]


async def test_two_pods_share_what_they_know(redis_server: RedisServer, make_redis: MakeRedis) -> None:
    """One puts, the other gets; one deletes or purges, the other misses."""
    one, other = make_redis(redis_server.url), make_redis(redis_server.url)
    await one.put("a", answer(b"a"), LONG)
    await one.put("b", answer(b"b"), LONG)
    assert same(await other.get("a"), answer(b"a"))
    await other.delete(["a"])
    assert await one.get("a") is None
    assert await other.purge(api="search") == 1
    assert await one.get("b") is None


async def test_the_server_is_never_scanned(redis_server: RedisServer, store: RedisStore) -> None:
    """Lists and purges go by the index, on a server with millions of keys of others."""
    await store.put("key", answer(), LONG)
    await store.entries(api=None, route=None, limit=10)
    await store.look(ident_of("key"))
    await store.purge()
    used = {name.removeprefix("cmdstat_") for name in redis_server.ask("INFO", "commandstats")}
    assert not used & {"keys", "scan", "flushdb", "flushall", "randomkey"}


async def test_a_server_that_forgot_the_script_gets_it_again(redis_server: RedisServer, store: RedisStore) -> None:
    """As after a failover."""
    await store.put("key", answer(b"old"), LONG)
    redis_server.ask("SCRIPT", "FLUSH")
    await store.put("key", answer(b"new"), LONG)
    assert same(await store.get("key"), answer(b"new"))


# --- the index ---


async def test_what_has_expired_leaves_the_index(redis_server: RedisServer, store: RedisStore) -> None:
    """With the next answer that comes."""
    await store.put("short", answer(), 0.01)
    await until(lambda: not redis_server.ask("EXISTS", place("short")))
    await store.put("long", answer(), LONG)
    assert redis_server.ask("ZRANGE", INDEX, 0, -1) == [f"{ident_of('long')} default".encode()]


async def test_an_api_with_too_many_answers_loses_those_that_would_expire_first(
    redis_server: RedisServer, store: RedisStore
) -> None:
    """The index is bounded, and what is not in it is not on the server: a purge finds everything."""
    store._backend.most = 3
    for seconds in (50.0, 10.0, 40.0, 30.0, 20.0):
        await store.put(f"{seconds:g}", answer(), seconds)
    assert [await store.get(key) is not None for key in ("10", "20", "30", "40", "50")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert redis_server.ask("ZCARD", INDEX) == 3
    assert store.evictions == 2


async def test_an_answer_that_the_server_evicted_is_not_listed(redis_server: RedisServer, store: RedisStore) -> None:
    """Under maxmemory the server drops what it likes."""
    await store.put("gone", answer(), LONG)
    await store.put("there", answer(), LONG)
    redis_server.ask("DEL", place("gone"))
    assert [entry.ident for entry in await store.entries(api=None, route=None, limit=10)] == [ident_of("there")]
    assert await store.purge() == 1


async def test_long_heads_are_listed_too(store: RedisStore) -> None:
    """An answer may have kilobytes of fields."""
    stored = answer(b"x" * 10 * KIB, fields=tuple((b"X-%d" % number, b"y" * 100) for number in range(100)))
    await store.put("key", stored, LONG)
    (entry,) = await store.entries(api=None, route=None, limit=10)
    assert entry.stored.headers == stored.headers
    assert entry.stored.size == stored.size


async def test_a_list_begins_with_what_lives_longest(store: RedisStore) -> None:
    """Api by api."""
    for key, seconds, api in (("a", 10.0, "one"), ("b", 30.0, "one"), ("c", 20.0, "two")):
        await store.put(key, answer(api=api), seconds)
    entries = await store.entries(api=None, route=None, limit=10)
    assert [entry.ident for entry in entries] == [ident_of(key) for key in ("b", "a", "c")]


# --- what is believed ---


async def test_an_answer_under_another_key_is_not_believed(redis_server: RedisServer, store: RedisStore) -> None:
    """Whatever went wrong on the server: nobody gets another's answer."""
    await store.put("mine", answer(), LONG)
    redis_server.ask("COPY", place("mine"), place("yours"))
    assert await store.get("yours") is None
    assert await store.look(ident_of("yours")) is None
    assert same(await store.get("mine"), answer())


async def test_what_is_no_answer_is_a_miss(redis_server: RedisServer, store: RedisStore) -> None:
    """It is counted, it is not listed, and the next answer takes its place."""
    await store.put("key", answer(), LONG)
    redis_server.ask("SETRANGE", place("key"), 0, b"JUNK")
    assert await store.get("key") is None
    assert await store.entries(api=None, route=None, limit=10) == []
    assert store.malformed == 2
    await store.put("key", answer(), LONG)
    assert await store.get("key") is not None


async def test_a_value_of_another_type_is_an_error_and_no_fall(redis_server: RedisServer, store: RedisStore) -> None:
    """The server is there, and says no."""
    redis_server.ask("LPUSH", place("key"), "x")
    with pytest.raises(StoreError, match="redis: get: WRONGTYPE"):
        await store.get("key")
    assert store.up


async def test_a_full_server_refuses_puts_and_still_answers(redis_server: RedisServer, store: RedisStore) -> None:
    """Without a policy of eviction it says that it is out of memory."""
    await store.put("key", answer(), LONG)
    redis_server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError, match=r"redis: put: .*maxmemory"):
        await store.put("new", answer(), LONG)
    assert await store.get("key") is not None


async def test_large_bodies_are_neither_written_nor_read(redis_server: RedisServer, make_redis: MakeRedis) -> None:
    """Over ``max_object``; what was under the key is gone, since it is not the answer any more."""
    small, large = make_redis(redis_server.url, max_object=1_000), make_redis(redis_server.url)
    await small.put("key", answer(b"x" * 1_000), LONG)
    await small.put("key", answer(b"x" * 1_001), LONG)
    assert await large.get("key") is None
    await large.put("key", answer(b"x" * 1_001), LONG)
    assert await small.get("key") is None
    small.max_object = 2_000
    assert await small.get("key") is not None


async def test_large_bodies_take_less_room_on_the_server(redis_server: RedisServer, store: RedisStore) -> None:
    """Deflated, and inflated again beside the loop."""
    await store.put("key", answer(b"compressible " * 20_000), LONG)
    assert redis_server.ask("STRLEN", place("key")) < 10_000
    assert same(await store.get("key"), answer(b"compressible " * 20_000))


# --- by which urls ---


def settings_of(url: str, limit: float = 0.1) -> dict[str, object]:
    """How the store of a url would connect."""

    async def make() -> dict[str, object]:
        clock = Clock(asyncio.get_running_loop())
        store = RedisStore(url, clock, max_object=1, limit=limit)
        connection = store._pool.make_connection()  # type: ignore[no-untyped-call]
        await store.close()
        await clock.stop()
        names = ("host", "port", "path", "db", "username", "password")
        return {name: getattr(connection, name, None) for name in names} | {"connection": connection}

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache.internal", {"host": "cache.internal", "port": 6379, "db": 0, "password": None}),
        ("redis://:s%40cret@h:6380/3", {"host": "h", "port": 6380, "db": 3, "password": "s@cret", "username": None}),
        ("redis://user:secret@[::1]:6380", {"host": "::1", "username": "user", "password": "secret"}),
        ("rediss://h:6380/1?ssl_check_hostname=false", {"host": "h", "port": 6380, "db": 1}),
        ("unix:///run/redis.sock?db=2&password=secret", {"path": "/run/redis.sock", "db": 2, "password": "secret"}),
    ],
)
def test_urls_say_where_the_server_is(url: str, expected: dict[str, object]) -> None:
    """Host, port, database, user and password; over TCP, TLS or a socket of this machine."""
    settings = settings_of(url)
    assert settings | expected == settings
    assert isinstance(settings["connection"], SSLConnection) == url.startswith("rediss:")
    assert isinstance(settings["connection"], UnixDomainSocketConnection) == url.startswith("unix:")


def test_a_url_cannot_loosen_the_limits() -> None:
    """Time limits and retries are ours: a cache must not make calls wait."""
    words = "socket_timeout=60&socket_connect_timeout=60&retry_on_timeout=yes&health_check_interval=1"
    connection = settings_of(f"redis://h?{words}&decode_responses=yes&protocol=3&max_connections=1")["connection"]
    assert isinstance(connection, object)
    found = {name: getattr(connection, name) for name in ("socket_timeout", "socket_connect_timeout", "protocol")}
    assert found == {"socket_timeout": None, "socket_connect_timeout": 0.1, "protocol": 2}
    assert connection.retry.get_retries() == 0  # type: ignore[attr-defined]
    assert connection.health_check_interval == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url", ["", "h:6379", "http://h", "redis://u:sec/ret@h", "redis://h?db=secret", "redis://:secret@h?unknown=secret"]
)
def test_what_is_no_url_is_refused_without_its_secrets(url: str) -> None:
    """At once, and in words that may be logged."""
    with pytest.raises(ValueError, match="not the url of a Redis server") as caught:
        settings_of(url)
    assert "sec" not in str(caught.value)


def test_files_of_certificates_must_be_there(tmp_path: Path) -> None:
    """The error names what is wrong before anything is cached."""
    with pytest.raises(OSError, match=r"the certificates of the Redis server: .*No such file"):
        settings_of(f"rediss://h?ssl_ca_certs={tmp_path / 'missing.pem'}")


async def works(store: RedisStore) -> bool:
    await store.put("key", answer(), LONG)
    return same(await store.get("key"), answer())


async def test_a_password_and_a_database(tmp_path: Path, make_redis: MakeRedis) -> None:
    """Both are used on every connection."""
    server = RedisServer(tmp_path, "--requirepass", "se:cr@t").start()
    try:
        assert await works(make_redis(f"redis://:se%3Acr%40t@127.0.0.1:{server.port}/5"))
        assert server.ask("DBSIZE", password="se:cr@t", db=5) == 3
    finally:
        server.kill()


async def test_a_wrong_password_is_a_server_that_is_away(tmp_path: Path, make_redis: MakeRedis) -> None:
    """The log says why, without the password."""
    server = RedisServer(tmp_path, "--requirepass", "right").start()
    try:
        store = make_redis(f"redis://:wrong@127.0.0.1:{server.port}")
        await until(lambda: not store.up)
        assert "invalid username-password pair" in store.why
        assert "wrong@" not in store.why
    finally:
        server.kill()


async def test_a_socket_of_this_machine(tmp_path: Path, make_redis: MakeRedis) -> None:
    """A server in the same pod."""
    path = tmp_path / "s"
    server = RedisServer(tmp_path, "--unixsocket", str(path)).start()
    try:
        assert await works(make_redis(f"unix://{path}"))
    finally:
        server.kill()


async def test_tls_with_a_certificate_that_is_checked(tmp_path: Path, make_redis: MakeRedis) -> None:
    """By the authority of the url; all connections share one context."""
    port, options = tls_options(tmp_path, trustme.CA())
    server = RedisServer(tmp_path, *options).start()
    try:
        store = make_redis(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        assert all(await asyncio.gather(*[works(store) for _ in range(10)]))
        connections = [*store._pool._available_connections]
        assert len({id(connection.ssl_context.get()) for connection in connections}) == 1  # type: ignore[attr-defined]
    finally:
        server.kill()


async def test_tls_with_a_certificate_of_nobody_we_know(tmp_path: Path, make_redis: MakeRedis) -> None:
    """It is not spoken to."""
    port, options = tls_options(tmp_path, trustme.CA())
    server = RedisServer(tmp_path, *options).start()
    try:
        store = make_redis(f"rediss://127.0.0.1:{port}")
        await until(lambda: not store.up)
        assert "certificate verify failed" in store.why
    finally:
        server.kill()


async def test_close_leaves_no_connection_behind(redis_server: RedisServer, store: RedisStore) -> None:
    """And no warning."""
    await asyncio.gather(*[store.get(f"key {number}") for number in range(10)])
    await store.close()
    await until(lambda: redis_server.ask("CLIENT", "LIST").count(b"flags=") == 1)
    assert repr(store) == "<RedisStore <Link redis down: closed>, 0 to delete>"
    with pytest.raises(StoreError, match="closed"):
        await store.get("key")
