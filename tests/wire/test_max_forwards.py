"""Tests of OPTIONS and TRACE with a limit of hops: who answers, and what the next one is told."""

from __future__ import annotations

import json

import pytest

from proxy.model import Chain, Exchange, Headers, Request, Response
from proxy.wire.max_forwards import LIMITED, hop


async def upstream(exchange: Exchange) -> Response:
    raise AssertionError("the upstream hears of it")


CHAIN = Chain("api", "charges", upstream, upstream)


def asks(*values: bytes) -> Request:
    return Request(b"OPTIONS", b"*", Headers.of(*((b"max-forwards", each) for each in values)), host=b"api.test")


async def test_at_its_end_backstay_answers() -> None:
    """With what would have served it, and without a word to the upstream (RFC 9110, 7.6.2)."""
    request = asks(b"0")
    chain = hop(request, CHAIN)
    assert (chain.api, chain.route) == ("api", "charges")
    for proceed in (chain.proceed, chain.inner):
        response = await proceed(Exchange(request, "api", "charges", 0.0))
        assert (response.status, response.headers.get(b"backstay-outcome")) == (200, b"max_forwards")
        assert response.headers.get(b"content-length") == b"%d" % len(response.body)
        said = json.loads(response.body)
        assert (said["by"], said["api"], said["route"]) == ("backstay", "api", "charges")


async def test_what_belongs_to_no_api_says_so() -> None:
    """Its api is null, not an empty name."""
    chain = hop(asks(b"0"), Chain("", "unlisted", upstream, upstream))
    response = await chain.proceed(Exchange(asks(), "", "unlisted", 0.0))
    assert json.loads(response.body)["api"] is None


@pytest.mark.parametrize(("value", "left"), [(b"1", b"0"), (b"10", b"9"), (b"007", b"6"), (b"999999999", b"999999998")])
def test_on_the_way_it_is_one_less(value: bytes, left: bytes) -> None:
    """The chain is the request's own, and the field comes once."""
    request = asks(value)
    assert hop(request, CHAIN) is CHAIN
    assert [each for _, each in request.headers] == [left]


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1, 2", b"0x1", b" 1", b"\xb2", b"1" * 10])
def test_what_is_no_number_limits_nothing(value: bytes) -> None:
    """It is passed on as it came."""
    request = asks(value)
    assert hop(request, CHAIN) is CHAIN
    assert [each for _, each in request.headers] == [value]


def test_without_a_limit_nothing_changes() -> None:
    """And only two methods know one."""
    request = asks()
    assert hop(request, CHAIN) is CHAIN
    assert list(request.headers) == []
    assert {b"OPTIONS", b"TRACE"} == LIMITED
