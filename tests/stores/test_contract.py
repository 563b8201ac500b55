"""What every store of answers does, in memory and on a real server."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.stored import Stored, Variants
from proxy.stores.base import CacheStore, ident_of
from tests.support.answers import KIB, answer, same

LONG = 600.0  # seconds


async def put(store: CacheStore, **apis_and_routes: tuple[str, str]) -> None:
    """An answer for each key, of an api and its route."""
    for key, (api, route) in apis_and_routes.items():
        await store.put(key, answer(key.encode(), api=api, route=route), LONG)


async def listed(store: CacheStore, *, api: str | None = None, route: str | None = None, limit: int = 100) -> set[str]:
    return {entry.ident for entry in await store.entries(api=api, route=route, limit=limit)}


def idents(*keys: str) -> set[str]:
    return {ident_of(key) for key in keys}


# --- get, put, delete ---


async def test_what_was_never_put_is_not_there(store: CacheStore) -> None:
    """An unknown key has no value."""
    assert await store.get("unknown") is None


async def test_an_answer_comes_back_as_it_was(store: CacheStore) -> None:
    """Status, fields in their order and case, body, times, and what it varies by."""
    stored = answer(
        bytes(range(256)),
        status=404,
        fields=((b"X-Odd", b"caf\xe9, \t!"), (b"x-odd", b""), (b"ETag", b'W/"1"')),
        vary=((b"accept", b"text/html"), (b"accept-language", None)),
        target=b"/v1/\xff?q=%20",
    )
    await store.put("key", stored, LONG)
    assert same(await store.get("key"), stored)


async def test_a_record_of_variants_comes_back_as_it_was(store: CacheStore) -> None:
    """Its nonce, the sets of fields and the keys, in their order."""
    variants = Variants("nonce", ((b"accept",), (b"accept", b"origin")), ("key:1", "key:2"))
    await store.put("key", variants, LONG)
    assert await store.get("key") == variants


async def test_a_newer_value_takes_the_place_of_the_older(store: CacheStore) -> None:
    """Whatever their kinds: an answer, a record of variants, an answer again."""
    await store.put("key", answer(b"old"), LONG)
    await store.put("key", Variants("nonce"), LONG)
    await store.put("key", answer(b"new"), LONG)
    assert same(await store.get("key"), answer(b"new"))


@pytest.mark.parametrize("ttl", [0.0, -1.0])
async def test_what_is_to_be_kept_for_no_time_only_takes_the_older_away(store: CacheStore, ttl: float) -> None:
    """A put with no time to live leaves nothing under its key."""
    await store.put("key", answer(b"old"), LONG)
    await store.put("key", answer(b"new"), ttl)
    assert await store.get("key") is None


async def test_deleted_keys_are_gone_and_counted(store: CacheStore) -> None:
    """Only those that were there count; the others stay."""
    for key in ("one", "two", "three"):
        await store.put(key, answer(), LONG)
    assert await store.delete(["one", "three", "unknown"]) == 2
    assert [await store.get(key) is not None for key in ("one", "two", "three")] == [False, True, False]


async def test_no_key_at_all_can_be_deleted(store: CacheStore) -> None:
    """An empty list is no error."""
    assert await store.delete([]) == 0


async def test_keys_may_be_long_and_hold_anything(store: CacheStore) -> None:
    """Line breaks, bytes that are no text, kilobytes: keys are made of targets."""
    keys = ["a\nb", "caf\xe9", "\udc80", "k" * 10_000, ""]
    for number, key in enumerate(keys):
        await store.put(key, answer(b"%d" % number), LONG)
    for number, key in enumerate(keys):
        assert same(await store.get(key), answer(b"%d" % number))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 64 * KIB, 64 * KIB + 1, 300 * KIB])
@pytest.mark.parametrize("compressible", [True, False])
async def test_bodies_of_every_size_come_back(store: CacheStore, size: int, *, compressible: bool) -> None:
    """On both sides of every size at which a body is handled differently."""
    stored = answer(b"x" * size if compressible else os.urandom(size))
    await store.put("key", stored, LONG)
    assert same(await store.get("key"), stored)


async def test_many_at_once_get_each_their_own(store: CacheStore) -> None:
    """Five hundred writers and readers at once never get another's answer."""
    keys = [f"key {number}" for number in range(500)]
    await asyncio.gather(*[store.put(key, answer(key.encode()), LONG) for key in keys])
    values = await asyncio.gather(*[store.get(key) for key in keys])
    assert all(same(value, answer(key.encode())) for key, value in zip(keys, values, strict=True))


async def test_an_environment_variable_does_not_switch_it_off(
    store: CacheStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AIOCACHE_DISABLE=1 turns aiocache's own methods into silence; deletions must not be lost in it."""
    monkeypatch.setenv("AIOCACHE_DISABLE", "1")
    await store.put("key", answer(), LONG)
    assert await store.get("key") is not None
    assert await store.delete(["key"]) == 1


@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "get"]), st.integers(0, 3), st.binary(max_size=4))))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_it_is_a_table_whatever_is_done_with_it(store: CacheStore, steps: list[tuple[str, int, bytes]]) -> None:
    """Any operations in any order on a few keys, against a dict."""
    await store.delete([f"key {number}" for number in range(4)])
    table: dict[int, bytes] = {}
    for action, number, body in steps:
        match action:
            case "put":
                await store.put(f"key {number}", answer(body), LONG)
                table[number] = body
            case "delete":
                assert await store.delete([f"key {number}"]) == (table.pop(number, None) is not None)
            case _:
                value = await store.get(f"key {number}")
                assert (value.body if isinstance(value, Stored) else None) == table.get(number)


# --- list, look, purge ---


async def test_answers_are_listed_by_api_and_route(store: CacheStore) -> None:
    """All of them, an api's, a route's; records of variants are none."""
    await put(store, a=("search", "default"), b=("search", "slow"), c=("pay", "default"))
    await store.put("variants", Variants("nonce"), LONG)
    assert await listed(store) == idents("a", "b", "c")
    assert await listed(store, api="search") == idents("a", "b")
    assert await listed(store, api="search", route="slow") == idents("b")
    assert await listed(store, route="default") == idents("a", "c")
    assert await listed(store, api="unknown") == set()


async def test_a_list_has_a_limit(store: CacheStore) -> None:
    """No more than asked for, however many there are."""
    for number in range(20):
        await store.put(f"key {number}", answer(api=f"api {number % 3}"), LONG)
    assert len(await listed(store, limit=5)) == 5
    assert len(await listed(store, limit=0)) == 0
    assert len(await listed(store, limit=100)) == 20


async def test_a_list_says_what_is_there(store: CacheStore) -> None:
    """Each entry has the facts of its answer, and its size with the body."""
    stored = answer(b"x" * 5_000, status=404, target=b"/gone")
    await store.put("key", stored, LONG)
    (entry,) = await store.entries(api=None, route=None, limit=10)
    assert (entry.stored.status, entry.stored.target, entry.stored.size) == (404, b"/gone", stored.size)
    assert entry.stored.headers == stored.headers


async def test_an_answer_can_be_looked_at_by_its_ident(store: CacheStore) -> None:
    """Body and all; there is none under another name, nor under a record of variants."""
    await store.put("key", answer(b"body"), LONG)
    await store.put("variants", Variants("nonce"), LONG)
    entry = await store.look(ident_of("key"))
    assert entry is not None
    assert entry.ident == ident_of("key")
    assert same(entry.stored, answer(b"body"))
    assert [await store.look(ident) for ident in (ident_of("unknown"), ident_of("variants"), "*", "")] == [None] * 4


async def test_purges_take_what_they_name(store: CacheStore) -> None:
    """One answer, a route's, an api's, all; each says how many there were."""
    keys = {"a": ("search", "default"), "b": ("search", "slow"), "c": ("search", "slow"), "d": ("pay", "default")}
    await put(store, **keys, e=("pay", "slow"))
    assert await store.purge(ident=ident_of("a")) == 1
    assert await store.purge(ident=ident_of("a")) == 0
    assert await store.purge(api="search", route="slow") == 2
    assert await listed(store) == idents("d", "e")
    assert await store.purge(api="pay") == 2
    await put(store, **keys)
    assert await store.purge() == 4
    assert await store.get("a") is None


async def test_everything_that_a_purge_names_must_apply(store: CacheStore) -> None:
    """The ident of another api's answer purges nothing."""
    await put(store, a=("search", "default"))
    assert await store.purge(ident=ident_of("a"), api="pay") == 0
    assert await store.purge(ident=ident_of("a"), api="search", route="slow") == 0
    assert await store.purge(ident=ident_of("a"), api="search", route="default") == 1


async def test_thousands_can_be_listed_and_purged(store: CacheStore) -> None:
    """More than one batch, with the loop at others' disposal in between."""
    for number in range(2_500):
        await store.put(f"key {number}", answer(route=f"r{number % 2}"), LONG)
    assert len(await listed(store, limit=3_000)) == 2_500
    assert await store.purge(api="search", route="r1") == 1_250
    assert len(await listed(store, limit=3_000)) == 1_250
    assert await store.look(ident_of("key 0")) is not None


async def test_close_can_be_repeated(store: CacheStore) -> None:
    """Closing is for everybody who holds the store."""
    await store.close()
    await store.close()
