"""Tests of the table of vendors that honour idempotency keys."""

from __future__ import annotations

import math
import re
from typing import Final

import pytest

from proxy.core.idempotency_key import LONGEST
from proxy.core.methods import unsafe
from proxy.core.vendors import VENDORS, Vendor, vendor_of

HOST: Final = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")
TOKEN: Final = re.compile(rb"[A-Za-z0-9-]+")


def known(host: str) -> Vendor:
    vendor = vendor_of(host)
    assert vendor is not None, host
    return vendor


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_every_row_is_well_formed(vendor: Vendor) -> None:
    """Hosts are lower-cased and of the vendor's own domain, the header is a field's name, methods are worth a key."""
    assert all(HOST.fullmatch(host) for host in vendor.hosts)
    assert TOKEN.fullmatch(vendor.header)
    assert vendor.methods
    assert all(unsafe(method) for method in vendor.methods)
    assert 36 <= vendor.longest <= LONGEST + 1
    assert vendor.remembers >= 0.0
    assert {vendor_of(host.replace("*", "x")) for host in vendor.hosts} == {vendor}


def test_names_and_hosts_are_told_apart() -> None:
    """One row for a vendor, one vendor for a host."""
    names = [vendor.name for vendor in VENDORS]
    hosts = [host for vendor in VENDORS for host in vendor.hosts]
    assert len(set(names)) == len(names)
    assert len(set(hosts)) == len(hosts)


@pytest.mark.parametrize(
    ("host", "name", "header"),
    [
        ("api.stripe.com", "Stripe", b"Idempotency-Key"),
        ("api-m.paypal.com", "PayPal", b"PayPal-Request-Id"),
        ("1797a841fbb37ca7-demo-checkout-live.adyenpayments.com", "Adyen", b"Idempotency-Key"),
        ("a.b.adyenpayments.com", "Adyen", b"Idempotency-Key"),
        ("api.checkout.com", "Checkout.com", b"Cko-Idempotency-Key"),
        ("vkuhvk4v.api.checkout.com", "Checkout.com", b"Cko-Idempotency-Key"),
        ("api.klarna.com", "Klarna", b"Klarna-Idempotency-Key"),
        ("acme.chargebee.com", "Chargebee", b"chargebee-idempotency-key"),
        ("api.eu.svix.com", "Svix", b"Idempotency-Key"),
    ],
)
def test_a_vendor_is_known_by_its_host(host: str, name: str, header: bytes) -> None:
    """By its exact name, or as a part of a domain, however deep."""
    assert (known(host).name, known(host).header) == (name, header)


@pytest.mark.parametrize(
    "host",
    [
        "api.stripe.com.example.org",
        "stripe.com",
        "xapi.stripe.com",
        "www.api.stripe.com",
        "svix.com",
        "evilsvix.com",
        "docs.checkout.com",
        "localhost",
        "127.0.0.1",
        "",
        ".",
        "com",
        "connect.squareup.com",
        "production.plaid.com",
        "api.circle.com",
        "api.airwallex.com",
    ],
)
def test_a_host_that_only_looks_like_it_is_not_known(host: str) -> None:
    """A wildcard does not stand for nothing; who takes the key in the body is not in the table."""
    assert vendor_of(host) is None


@pytest.mark.parametrize(
    ("host", "call", "honoured"),
    [
        ("api.stripe.com", b"POST /v1/charges", True),
        ("api.stripe.com", b"POST /v1/anything/else?expand=x", True),
        ("api.stripe.com", b"DELETE /v1/customers/cus_1", False),
        ("api.stripe.com", b"PUT /v1/charges", False),
        ("api-m.paypal.com", b"POST /v2/checkout/orders", True),
        ("api-m.paypal.com", b"POST /v2/checkout/orders/5O190127TN364715T/capture?x=/", True),
        ("api-m.paypal.com", b"POST /v2/checkout/orders/5O190127TN364715T/track", False),
        ("api-m.paypal.com", b"POST /v2/payments/captures/2GG279541U471931P/refund", True),
        ("api-m.paypal.com", b"POST /v1/payments/payouts", False),
        ("api-m.paypal.com", b"PATCH /v2/checkout/orders/5O190127TN364715T", False),
        ("api.checkout.com", b"POST /payments/pay_mbabizu24mvu3mela5njyhpit4/refunds", True),
        ("api.checkout.com", b"POST /tokens", False),
        ("api.gocardless.com", b"POST /payments", True),
        ("api.gocardless.com", b"POST /payments/PM123/actions/retry", False),
        ("api.klarna.com", b"PATCH /ordermanagement/v1/orders/f3392f8b-6116/authorization", True),
        ("api.klarna.com", b"POST /payments/v1/sessions", False),
        ("platform.brexapis.com", b"PUT /v1/vendors/v1", True),
        ("api.xero.com", b"PUT /api.xro/2.0/Invoices", True),
        ("api.xero.com", b"DELETE /api.xro/2.0/Invoices/1", False),
        ("api.resend.com", b"POST /emails", True),
        ("api.resend.com", b"POST /emails/batch", True),
        ("api.resend.com", b"POST /broadcasts", False),
        ("api.knock.app", b"POST /v1/workflows/order-placed/trigger", True),
        ("api.knock.app", b"POST /v1/workflows/order-placed/cancel", False),
        ("api.lob.com", b"POST /v1/checks", True),
        ("api.moov.io", b"POST /accounts/ec7e1848/transfers", True),
    ],
)
def test_a_key_is_honoured_where_the_vendor_says_so(host: str, call: bytes, honoured: bool) -> None:
    """By method, and by path where not all of them are."""
    method, _, target = call.partition(b" ")
    assert known(host).honours(method, target) is honoured


@pytest.mark.parametrize(
    ("host", "seconds"),
    [("api-m.paypal.com", 21_600.0), ("api.xero.com", 360.0), ("api.mollie.com", 3600.0), ("api.moov.io", math.inf)],
)
def test_a_vendor_knows_a_key_for_its_own_time(host: str, seconds: float) -> None:
    """Of several the shortest: sent again after it, a call is another one."""
    assert known(host).remembers == seconds


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/checkout/orders/",
        b"//v2/checkout/orders",
        b"/v2/checkout/Orders",
        b"/v2/checkout/orders/../orders",
        b"/v2/checkout/orders/./capture",
        b"/v2/checkout/orders/%2E%2E/capture",
        b"/v2/checkout/orders/a%2Fb/capture",
        b"/v2/checkout/orders//capture",
        b"/v2/checkout/orders\n",
        b"/x/v2/checkout/orders",
        b"",
    ],
)
def test_a_path_that_is_written_in_another_way_is_not_honoured(target: bytes) -> None:
    """It may be another one to the vendor: what is not certain is no reason to send a call again."""
    assert not known("api-m.paypal.com").honours(b"POST", target)
