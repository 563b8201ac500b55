"""Tests of calls that get their credentials on the way out: what is sent, and what is not."""

from __future__ import annotations

import itertools

import pytest

from proxy.core.placeholders import Credential, Dresser
from proxy.errors import PlaceholderMisused
from proxy.model import Attempt, Exchange, Headers, Request
from proxy.wire.pool import Endpoint, Pool, Upstream
from tests.support.wire import OK, Wire

STRIPE = Credential(b"Authorization", b"Bearer sk_live_1", placeholder=b"bs_stripe")


def attempt_of(*fields: tuple[bytes, bytes], target: bytes = b"/x") -> Attempt:
    exchange = Exchange(Request(b"POST", target, Headers.of(*fields), body=b"ab"), "api", "default", 0.0)
    exchange.deadline = 1e9
    return Attempt(exchange, 1)


def pool_of(wire: Wire) -> Pool:
    endpoint = Endpoint("127.0.0.1", wire.vendor.port, authority=b"vendor.test")
    scratch = memoryview(bytearray(65536))
    return Pool(wire.clock, endpoint, scratch, max_connections=2, idle_seconds=60.0, header_limit=4096)


async def test_the_upstream_gets_what_the_agent_never_held(wire: Wire) -> None:
    """The body goes with it; the agent's own request, which is compared and logged, stays as it was."""
    await wire.start_vendor(OK)
    pool = pool_of(wire)
    upstream = Upstream(pool, b"via", declared_safe=False, dress=Dresser([STRIPE], []).dress)
    attempt = attempt_of((b"authorization", b"Bearer bs_stripe"), (b"X-A", b"1"), (b"Content-Length", b"2"))
    await upstream(attempt)
    assert wire.vendor.received == (
        b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nAuthorization: Bearer sk_live_1\r\nX-A: 1\r\n"
        b"Content-Length: 2\r\nVia: 1.1 via\r\n\r\nab"
    )
    assert attempt.exchange.request.headers.get(b"authorization") == b"Bearer bs_stripe"
    pool.close()


async def test_each_attempt_is_dressed_anew(wire: Wire) -> None:
    """A secret that was changed between two attempts is the one that the second sends."""
    await wire.start_vendor(OK)
    pool, numbers = pool_of(wire), itertools.count(1)

    def dress(request: Request) -> Request:
        return request.revised(Headers.of((b"X-Key", b"%d" % next(numbers)), (b"Content-Length", b"2")))

    upstream = Upstream(pool, b"via", declared_safe=False, dress=dress)
    attempt = attempt_of()
    await upstream(attempt)
    await upstream(Attempt(attempt.exchange, 2))
    assert [b"X-Key: %d" % each in wire.vendor.received for each in (1, 2)] == [True, True]
    pool.close()


@pytest.mark.parametrize("target", [b"/x", b"/x?key=bs_openai"])
async def test_a_placeholder_that_is_not_for_this_upstream_takes_no_connection(wire: Wire, target: bytes) -> None:
    """Nothing is written, and nothing is opened for it."""
    await wire.start_vendor(OK)
    pool = pool_of(wire)
    upstream = Upstream(pool, b"via", declared_safe=False, dress=Dresser([STRIPE], [b"bs_openai"]).dress)
    attempt = attempt_of((b"X-Key", b"bs_openai"), target=target)
    with pytest.raises(PlaceholderMisused):
        await upstream(attempt)
    assert (attempt.written, attempt.exchange.written, wire.vendor.connections) == (False, False, [])
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}
