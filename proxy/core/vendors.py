"""Owns which vendors do not carry out a call twice if it comes again with the same idempotency key in a header.

Called by ``core/upstream_key.py``, ``chain.py`` and ``config``: ``upstream: auto`` means what this table says.

A row is here only because the vendor's own documentation says so, and only for the methods and paths for which it does:
with a row too few the outcome of a lost call stays unknown, with a row too many a card is charged twice. Left out are

- vendors that take the key in the body: Square, Plaid, Circle, Airwallex, Finix. No header makes such a call safe, and
  nothing is put into a body on the way. Where the agent puts the same key into it whenever it repeats a call, say
  ``upstream: honours`` and ``upstream_header: off``
- vendors that have the key signed: TrueLayer, Privy. One that is added on the way breaks the signature; where the agent
  sends and signs its own, say ``upstream: honours`` and name that field in ``header``
- vendors with whom it depends on the settings of an account: Rapyd

Some answer a repeated call by 409, and not by the first answer; they are marked. A 409 by itself says that nothing was
carried out, but never after an attempt whose outcome is not known (``concluded``), so such a call stays unknown. With
``store_errors: {done: [409]}`` it is done, for routes on which the vendor has no other use for a 409.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

_POST: Final = frozenset({b"POST"})
_HOUR: Final = 3600.0
_DAY: Final = 86400.0
_ANY_LENGTH: Final = 255  # none is documented: as long as an agent's key may be


class Vendor(NamedTuple):
    """A vendor, and what it promises."""

    name: str
    hosts: tuple[str, ...]  # exact, or *.suffix
    header: bytes  # as the vendor writes it
    methods: frozenset[bytes]  # on which it honours a key
    longest: int  # characters of a key
    remembers: float  # seconds from the first call for which it promises to know a key; 0: it names no time
    paths: re.Pattern[bytes] | None = None  # for which it honours a key; None: all

    def honours(self, method: bytes, target: bytes) -> bool:
        """Whether it honours a key on a call with this method and raw target."""
        if method not in self.methods:
            return False
        return self.paths is None or self.paths.fullmatch(target.partition(b"?")[0]) is not None


def _only(*paths: str) -> re.Pattern[bytes]:
    """These paths, with ``*`` for a segment that is an identifier. In doubt, as with any %, a path is another."""
    return re.compile("|".join([re.escape(path).replace(r"\*", "[A-Za-z0-9_-]+") for path in paths]).encode())


VENDORS: Final = (
    # --- payments --------------------------------------------------------------------------------------------
    # API v1: "all POST requests"; an error is repeated as well. v2 remembers for 30 days.
    Vendor("Stripe", ("api.stripe.com",), b"Idempotency-Key", _POST, 255, _DAY),
    # "Not all APIs support this header": these do. Orders are remembered for 6 hours, payments for 45 days.
    Vendor(
        "PayPal",
        ("api-m.paypal.com", "api.paypal.com", "api-m.sandbox.paypal.com", "api.sandbox.paypal.com"),
        b"PayPal-Request-Id", _POST, 108, 6 * _HOUR,
        _only(
            "/v2/checkout/orders", "/v2/checkout/orders/*/authorize", "/v2/checkout/orders/*/capture",
            "/v2/payments/authorizations/*/capture", "/v2/payments/authorizations/*/reauthorize",
            "/v2/payments/authorizations/*/void", "/v2/payments/captures/*/refund",
        ),
    ),
    # Of a company account, and of one region: an endpoint in another region does not know the key.
    Vendor(
        "Adyen",
        ("checkout-test.adyen.com", "pal-test.adyen.com", "*.adyenpayments.com"),
        b"Idempotency-Key", _POST, 64, 7 * _DAY,
    ),
    # Only answers of 2xx are remembered. Less long in the sandbox once, and where it was so agreed.
    Vendor(
        "Checkout.com",
        (
            "api.checkout.com", "*.api.checkout.com", "transfers.checkout.com",
            "api.sandbox.checkout.com", "*.api.sandbox.checkout.com", "transfers.sandbox.checkout.com",
        ),
        b"Cko-Idempotency-Key", _POST, _ANY_LENGTH, _DAY,
        _only(
            "/payment-contexts", "/payments", "/payments/*/authorizations", "/payments/*/cancellations",
            "/payments/*/captures", "/payments/*/refunds", "/payments/*/voids", "/transfers",
        ),
    ),
    Vendor("Mollie", ("api.mollie.com",), b"Idempotency-Key", _POST, _ANY_LENGTH, _HOUR),
    # "All our creation endpoints", which are those of one segment. Answers by 409, with the id of what it created.
    Vendor(
        "GoCardless", ("api.gocardless.com", "api-sandbox.gocardless.com"),
        b"Idempotency-Key", _POST, _ANY_LENGTH, 0.0, _only("/*"),
    ),
    Vendor("Dwolla", ("api.dwolla.com", "api-sandbox.dwolla.com"), b"Idempotency-Key", _POST, _ANY_LENGTH, _DAY),
    # Its Order Management API alone. A UUID is advised, not demanded.
    Vendor(
        "Klarna",
        (
            "api.klarna.com", "api-na.klarna.com", "api-oc.klarna.com",
            "api.playground.klarna.com", "api-na.playground.klarna.com", "api-oc.playground.klarna.com",
        ),
        b"Klarna-Idempotency-Key", frozenset({b"POST", b"PATCH"}), _ANY_LENGTH, _DAY,
        _only("/ordermanagement/v1/orders/*/*", "/ordermanagement/v1/orders/*/captures/*/*"),
    ),
    # 16 to 36 letters, digits and dashes. Answers by 409.
    Vendor("Mangopay", ("api.mangopay.com", "api.sandbox.mangopay.com"), b"Idempotency-Key", _POST, 36, _DAY),
    Vendor(
        "Mercado Pago", ("api.mercadopago.com",), b"X-Idempotency-Key", _POST, _ANY_LENGTH, 0.0,
        _only("/v1/payments", "/v1/payments/*/refunds"),
    ),
    # For ever. Answers by 409, with the transfer.
    Vendor(
        "Moov", ("api.moov.io",), b"X-Idempotency-Key", _POST, 36, math.inf,
        _only("/accounts/*/transfers", "/accounts/*/transfers/*/refunds", "/accounts/*/transfers/*/reversals"),
    ),
    # --- banks, books and billing ----------------------------------------------------------------------------
    # Only answers to what was carried out are remembered, and those whatever the path. By API key.
    Vendor("Modern Treasury", ("app.moderntreasury.com",), b"Idempotency-Key", _POST, _ANY_LENGTH, _DAY),
    # At most one object for each key, with no end named.
    Vendor("Increase", ("api.increase.com", "sandbox.increase.com"), b"Idempotency-Key", _POST, 200, math.inf),
    Vendor(
        "Column", ("api.column.com",), b"Idempotency-Key", _POST, 255, math.inf,
        _only(
            "/bank-accounts", "/bank-accounts/*/account-numbers", "/entities/business", "/entities/person", "/loans",
            "/loans/disbursements", "/loans/payments", "/transfers/ach", "/transfers/ach/*/reverse", "/transfers/book",
            "/transfers/checks/deposit", "/transfers/checks/issue", "/transfers/international-wire", "/transfers/wire",
            "/transfers/wire/*/reverse",
        ),
    ),
    Vendor(
        "Brex", ("platform.brexapis.com",), b"Idempotency-Key", frozenset({b"POST", b"PUT"}), _ANY_LENGTH, 0.0,
    ),
    Vendor("Deel", ("api.letsdeel.com",), b"Idempotency-Key", frozenset({b"POST", b"PATCH"}), 64, _DAY),
    # Long enough for a retry, and for nothing else: 6 minutes.
    Vendor("Xero", ("api.xero.com",), b"Idempotency-Key", frozenset({b"POST", b"PUT", b"PATCH"}), 128, 360.0),
    # Estimates take no key, and change nothing.
    Vendor("Chargebee", ("*.chargebee.com",), b"chargebee-idempotency-key", _POST, 100, 1800.0),
    Vendor("Zuora", ("*.zuora.com",), b"Idempotency-Key", frozenset({b"POST", b"PATCH"}), 254, _DAY),
    # --- messages --------------------------------------------------------------------------------------------
    Vendor("Resend", ("api.resend.com",), b"Idempotency-Key", _POST, 256, _DAY, _only("/emails", "/emails/batch")),
    Vendor("Courier", ("api.courier.com",), b"Idempotency-Key", _POST, _ANY_LENGTH, _DAY),
    Vendor("Knock", ("api.knock.app",), b"Idempotency-Key", _POST, 255, _DAY, _only("/v1/workflows/*/trigger")),
    # Only successes are remembered.
    Vendor("Svix", ("*.svix.com",), b"Idempotency-Key", _POST, _ANY_LENGTH, 12 * _HOUR),
    # What is printed and sent.
    Vendor(
        "Lob", ("api.lob.com",), b"Idempotency-Key", _POST, 256, _DAY,
        _only("/v1/checks", "/v1/letters", "/v1/postcards", "/v1/self_mailers"),
    ),
)  # fmt: skip
"""Vendors that honour a key in a header."""

_BY_HOST: Final = {host: vendor for vendor in VENDORS for host in vendor.hosts}


def vendor_of(host: str) -> Vendor | None:
    """The vendor at this (lower-cased) host, by its exact name first, then by the longest suffix."""
    found = _BY_HOST.get(host)
    while found is None and host:
        host = host.partition(".")[2]
        found = _BY_HOST.get(f"*.{host}")
    return found
