"""Tests of core/upstream_key.py: under which name an upstream gets a key, and when the key counts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from proxy.core.idempotency import IdempotencySettings
from proxy.core.upstream_key import UpstreamKey
from proxy.core.vendors import Vendor, vendor_of
from proxy.model import Headers, Request

STRIPE = vendor_of("api.stripe.com")
PAYPAL = vendor_of("api-m.paypal.com")
ADYEN = vendor_of("pal-test.adyen.com")
GOCARDLESS = vendor_of("api.gocardless.com")
INCREASE = vendor_of("api.increase.com")


def of(vendor: Vendor | None = None, **settings: Any) -> tuple[UpstreamKey, IdempotencySettings]:
    made = IdempotencySettings(**settings)
    return UpstreamKey(made, vendor), made


def request(*fields: tuple[bytes, bytes], method: bytes = b"POST", target: bytes = b"/v1/charges") -> Request:
    return Request(method, target, Headers.of(*fields))


@pytest.mark.parametrize(
    ("vendor", "settings", "name"),
    [
        (None, {}, None),
        (None, {"header": b"x-once-key"}, None),
        (None, {"upstream": "honours"}, b"Idempotency-Key"),
        (None, {"upstream": "honours", "header": b"x-once-key"}, b"X-Once-Key"),
        (None, {"upstream": "ignores"}, None),
        (None, {"upstream_header": b"X-Request-Key"}, b"X-Request-Key"),
        (STRIPE, {"header": b"x-once"}, b"Idempotency-Key"),
        (PAYPAL, {}, b"PayPal-Request-Id"),
        (PAYPAL, {"upstream": "honours"}, b"PayPal-Request-Id"),
        (PAYPAL, {"upstream": "ignores"}, None),
        (PAYPAL, {"upstream": "ignores", "upstream_header": b"X-Key"}, b"X-Key"),
        (PAYPAL, {"upstream_header": None}, None),
        (PAYPAL, {"upstream_header": b"X-Key"}, b"X-Key"),
    ],
)
def test_the_name_under_which_a_key_is_added(
    vendor: Vendor | None, settings: dict[str, Any], name: bytes | None
) -> None:
    """The operator's word, then the vendor's; where nobody vouches for the upstream none is added."""
    upstream, _ = of(vendor, **settings)
    assert upstream.name == name
    added = [] if name is None else [(name, b"k")]
    assert list(upstream.send(request(), b"k")[0]) == added
    assert repr(upstream) == f"<UpstreamKey {(name or b'none').decode()}>"


@pytest.mark.parametrize(
    ("vendor", "settings", "names"),
    [
        (None, {}, (b"idempotency-key",)),
        (None, {"header": b"x-once"}, (b"x-once",)),
        (STRIPE, {}, (b"idempotency-key",)),
        (PAYPAL, {}, (b"idempotency-key", b"paypal-request-id")),
        (PAYPAL, {"upstream": "ignores"}, (b"idempotency-key",)),
        (PAYPAL, {"upstream_header": None}, (b"idempotency-key", b"paypal-request-id")),
        (STRIPE, {"header": b"x-once", "upstream_header": b"X-Key"}, (b"x-once", b"x-key")),
    ],
)
def test_the_names_under_which_an_agent_may_give_a_key(
    vendor: Vendor | None, settings: dict[str, Any], names: tuple[bytes, ...]
) -> None:
    """The route's first, then the one that the upstream reads."""
    upstream, made = of(vendor, **settings)
    assert upstream.names(made) == names


def test_the_agents_own_field_stays() -> None:
    """In its spelling and in its place; the request itself is not changed by what is added."""
    upstream, _ = of(PAYPAL)
    own = request((b"PAYPAL-REQUEST-ID", b"own"), (b"X", b"y"))
    assert upstream.send(own, b"own")[0] is own.headers
    bare = request((b"X", b"y"))
    assert list(upstream.send(bare, b"k")[0]) == [(b"X", b"y"), (b"PayPal-Request-Id", b"k")]
    assert list(bare.headers) == [(b"X", b"y")]


ORDERS = {"target": b"/v2/checkout/orders?x=1"}


@pytest.mark.parametrize(
    ("vendor", "settings", "call", "honoured"),
    [
        (None, {}, {}, False),
        (None, {"upstream": "honours"}, {"method": b"DELETE"}, True),
        (None, {"upstream_header": b"Idempotency-Key"}, {}, False),  # a name proves nothing
        (STRIPE, {}, {}, True),
        (STRIPE, {}, {"method": b"DELETE"}, False),
        (STRIPE, {"upstream": "honours"}, {"method": b"DELETE"}, True),
        (STRIPE, {"upstream": "ignores"}, {}, False),
        (STRIPE, {"upstream": "ignores", "upstream_header": b"Idempotency-Key"}, {}, False),
        (STRIPE, {"upstream_header": None}, {}, False),  # it does not get it
        (STRIPE, {"upstream_header": b"X-Key"}, {}, False),  # nor where it looks for it
        (STRIPE, {"upstream_header": b"idempotency-key"}, {}, True),
        (STRIPE, {"upstream_header": b"X-Key", "upstream": "honours"}, {}, True),
        (PAYPAL, {}, {}, False),
        (PAYPAL, {}, ORDERS, True),
        (PAYPAL, {"upstream": "honours"}, {}, True),
    ],
)
def test_a_key_counts_where_somebody_vouches_for_it(
    vendor: Vendor | None, settings: dict[str, Any], call: dict[str, Any], honoured: bool
) -> None:
    """The vendor, for its methods and paths; or the operator, for all."""
    upstream, _ = of(vendor, **settings)
    assert upstream.send(request(**call), b"k")[1] is honoured


@pytest.mark.parametrize(
    ("vendor", "settings", "field", "honoured"),
    [
        (STRIPE, {}, (b"Idempotency-Key", b"k"), True),
        (STRIPE, {"header": b"x-once"}, (b"Idempotency-Key", b"made up by an SDK"), False),
        (STRIPE, {"upstream_header": None}, (b"Idempotency-Key", b"k"), True),
        (STRIPE, {"upstream_header": None, "header": b"x-once"}, (b"X-Once", b"k"), False),
        (None, {"upstream": "honours", "upstream_header": None}, (b"Idempotency-Key", b"k"), True),
        (None, {"upstream": "honours", "header": b"x-once", "upstream_header": None}, (b"X-Once", b"k"), True),
        (None, {}, (b"Idempotency-Key", b"k"), False),
    ],
)
def test_a_key_counts_if_the_upstream_gets_that_one(
    vendor: Vendor | None, settings: dict[str, Any], field: tuple[bytes, bytes], honoured: bool
) -> None:
    """Of another one, nobody knows whether it stays the same when the call comes again."""
    upstream, _ = of(vendor, **settings)
    assert upstream.send(request(field), b"k")[1] is honoured
    if honoured:
        assert upstream.honours(request(field), b"k")


@pytest.mark.parametrize("second", [b"k", b"other"])
def test_a_key_counts_if_it_is_the_only_one(second: bytes) -> None:
    """Which of two a vendor takes, or whether it takes both for one, nobody knows."""
    upstream, _ = of(PAYPAL)
    call = request(*[(b"PayPal-Request-Id", key) for key in (b"k", second)], **ORDERS)
    assert not upstream.send(call, b"k")[1]


@pytest.mark.parametrize(("length", "honoured"), [(64, True), (65, False)])
def test_a_key_counts_if_the_vendor_takes_it(length: int, honoured: bool) -> None:
    """One that is too long is sent all the same: the vendor says what is wrong with it."""
    for settings, counts in (({}, honoured), ({"upstream": "honours"}, True)):
        upstream, _ = of(ADYEN, **settings)
        sent = upstream.send(request(), b"k" * length)
        assert (sent[0].get(b"idempotency-key"), sent[1]) == (b"k" * length, counts)


@pytest.mark.parametrize(
    ("vendor", "settings", "seconds"),
    [
        (STRIPE, {}, 86400.0),
        (PAYPAL, {}, 6 * 3600.0),
        (INCREASE, {}, math.inf),
        (GOCARDLESS, {}, 86400.0),  # names no time
        (None, {"upstream": "honours"}, math.inf),
        (STRIPE, {"upstream": "honours"}, math.inf),
        (STRIPE, {"upstream": "ignores"}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_for_how_long_a_key_counts(vendor: Vendor | None, settings: dict[str, Any], seconds: float) -> None:
    """As long as the vendor says, or a day; the operator's word has no end."""
    upstream, _ = of(vendor, **settings)
    assert upstream.remembered == seconds
