"""Callers with different credentials never get each other's answers, whatever comes in whatever order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.credentials import partition
from proxy.model import Attempt, Headers, Response
from proxy.stores.redis import RedisStore
from tests.support.answers import GENEROUS, MIB
from tests.support.caching import Asking, Shop, Torrent, flows, whole
from tests.support.properties import examples
from tests.support.redis_server import RedisServer
from tests.support.script import Rig, answers
from tests.support.virtual import run

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
Visit: TypeAlias = tuple[int, int, float]
"""(who, in which language, seconds until the next)."""
Answer: TypeAlias = tuple[int, int, bool, float]
"""(its caching fields, its status, whether it is a stream, seconds until it comes)."""

CALLERS: Final[tuple[Fields, ...]] = (
    (),
    ((b"Authorization", b"Bearer a"),),
    ((b"Authorization", b"Bearer b"),),
    ((b"Cookie", b"session=a"),),
    ((b"X-Api-Key", b"a"),),
    ((b"Authorization", b"Bearer a"), (b"Stripe-Account", b"acct_1")),
)
LANGUAGES: Final = (b"en", b"de")
CACHING: Final[tuple[Fields, ...]] = (
    (),
    ((b"Cache-Control", b"max-age=60"),),
    ((b"Cache-Control", b"private, max-age=60"),),
    ((b"Cache-Control", b"public, max-age=60"), (b"Vary", b"Accept-Language")),
    ((b"Cache-Control", b"s-maxage=60"),),
    ((b"Cache-Control", b"no-store"),),
    ((b"Cache-Control", b"no-cache"), (b"ETag", b'"1"')),
    ((b"Cache-Control", b"max-age=1, stale-while-revalidate=60"), (b"ETag", b'"1"')),
    ((b"Cache-Control", b"max-age=60"), (b"Vary", b"Authorization, Accept-Language")),
)
STATUSES: Final = (200, 200, 404, 429, 503)
SHAREABLE: Final = (b"public", b"s-maxage", b"must-revalidate")

VISITS = st.lists(
    st.tuples(st.integers(0, len(CALLERS) - 1), st.integers(0, 1), st.sampled_from([0.0, 0.0, 0.3, 2.0, 61.0])),
    min_size=2,
    max_size=14,
)
ANSWERS = st.lists(
    st.tuples(
        st.integers(0, len(CACHING) - 1),
        st.integers(0, len(STATUSES) - 1),
        st.booleans(),
        st.sampled_from([0.0, 0.5]),
    ),
    min_size=1,
    max_size=6,
)


class Vendor:
    """Writes into each answer for whom it was made, and whether that one had to be known."""

    def __init__(self, script: list[Answer]) -> None:
        self._answers = itertools.cycle(script)

    async def __call__(self, clock: Clock, attempt: Attempt) -> Response:
        fields, status, streamed, after = next(self._answers)
        body = mark(attempt.exchange.request.headers)
        caching = CACHING[fields]
        if streamed:
            torrent = whole(Torrent(clock), body[:3], body[3:])
            return await flows(torrent, *caching, status=STATUSES[status], after=after)(clock, attempt)
        return await answers(STATUSES[status], *caching, after=after, body=body)(clock, attempt)


def mark(headers: Headers) -> bytes:
    known = b"authorized " if b"authorization" in headers else b"anonymous "
    return known + (partition(headers) or "nobody").encode()


async def visited(clock: Clock, visits: list[Visit], script: list[Answer], **shop: Any) -> list[tuple[bytes, Asking]]:
    """Let them come; everybody's own mark, and what they were told."""
    at = Shop(Rig(clock), Vendor(script), **shop)
    asking = []
    for who, language, pause in visits:
        fields = (*CALLERS[who], (b"Accept-Language", LANGUAGES[language]))
        asking.append((mark(Headers.of(*fields)), at.ask(*fields)))
        await clock.sleep(pause)
    for _, each in asking:
        await each
    await clock.sleep(0)
    return asking


@given(visits=VISITS, script=ANSWERS)
def test_each_gets_its_own(visits: list[Visit], script: list[Answer]) -> None:
    """In scope credential, whatever the vendor says of its answers."""
    for own, each in run(lambda clock: visited(clock, visits, script)):
        assert each.got.body == own


@given(visits=VISITS, script=ANSWERS)
def test_each_gets_its_own_for_as_long_as_the_operator_says(visits: list[Visit], script: list[Answer]) -> None:
    """In mode ttl, which does not ask the vendor."""
    for own, each in run(lambda clock: visited(clock, visits, script, cache={"mode": "ttl", "ttl": 60.0})):
        assert each.got.body == own


@pytest.mark.parametrize("mode", [{}, {"mode": "ttl", "ttl": 60.0}])
@given(visits=VISITS, script=ANSWERS)
def test_others_get_what_was_made_for_one_only_if_the_vendor_allows_it(
    mode: dict[str, Any], visits: list[Visit], script: list[Answer]
) -> None:
    """In scope shared, an answer to a request with Authorization (RFC 9111, 3.5)."""
    for own, each in run(lambda clock: visited(clock, visits, script, cache={"scope": "shared", **mode})):
        if each.got.body != own and each.got.body.startswith(b"authorized"):
            allowed = each.got.header(b"cache-control") or b""
            assert any(word in allowed for word in SHAREABLE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    redis = RedisServer(folder)
    try:
        yield redis.start()
    finally:
        redis.kill()


async def over_redis(server: RedisServer, visits: list[Visit], script: list[Answer]) -> list[tuple[bytes, Asking]]:
    """The same in real time, with a store that others share: what earlier examples left is in it too."""
    clock = Clock(asyncio.get_running_loop())
    store = RedisStore(server.url, clock, max_object=MIB, limit=GENEROUS)
    try:
        quick = [(who, language, 0.0) for who, language, _ in visits]
        return await visited(clock, quick, [(*each[:3], 0.0) for each in script], store=store)
    finally:
        await store.close()
        await clock.stop()


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(visits=VISITS, script=ANSWERS)
def test_each_gets_its_own_from_a_shared_store(server: RedisServer, visits: list[Visit], script: list[Answer]) -> None:
    """Over Redis, where answers come back as bytes."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for own, each in runner.run(over_redis(server, visits, script)):
            assert each.got.body == own
