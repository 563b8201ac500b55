"""Owns what in a request may tell who calls, and so whose data its answer holds.

Called by ``chain.py`` to key rate limits, by the cache policy to keep the answers of callers apart.

Two questions, two answers. A rate limit is counted per credential, so it wants the few fields that *are* one:
``CREDENTIALS``. A cache must not give one caller the data of another, and vendors name accounts, tenants and
delegates in fields of their own; so there every name that sounds like it counts. A name too many costs hits where
its value differs; a name too few gives data away. Left out on purpose is only what differs from call to call and
says nothing of the caller (telemetry, idempotency keys), and the address that a call came from.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.model import Headers

CREDENTIALS: Final = frozenset(
    {b"authorization", b"cookie", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-auth-token", b"proxy-authorization"}
)
"""The fields that are credentials by themselves, lower-cased."""

# Looked for anywhere in a name, once its "_" and "." are "-" and it stands between two "-".
_WORDS: Final = (
    # what proves who calls
    b"auth", b"token", b"key", b"secret", b"cookie", b"credential", b"session", b"signature", b"-sign-", b"-sig-",
    b"hmac", b"password", b"passwd", b"passphrase", b"passcode", b"-pwd-", b"bearer", b"jwt", b"saml", b"oidc",
    b"-sso-", b"wsse", b"assertion", b"ticket", b"login", b"cert", b"license", b"-sid-",
    # who that is, or on whose behalf
    b"user", b"identity", b"principal", b"subject", b"caller", b"actor", b"-uid-", b"email", b"mailbox", b"on-behalf",
    b"onbehalf", b"impersonat", b"delegat", b"act-as", b"acting-as", b"run-as", b"runas", b"admin", b"role", b"profile",
    b"scope", b"client-id", b"clientid", b"api-id", b"app-id", b"appid", b"application-id", b"agent-id", b"device-id",
    b"deviceid", b"visitor", b"guest",
    # whose data it is
    b"account", b"organization", b"organisation", b"-org", b"tenant", b"project", b"workspace", b"namespace",
    b"customer", b"consumer", b"subscription", b"subscriber", b"owner", b"member", b"merchant", b"seller", b"partner",
    b"company", b"business", b"employee", b"team", b"group", b"realm", b"-shop-", b"site-id", b"siteid", b"store-id",
    b"storeid", b"installation", b"connection-id",
)  # fmt: skip

# Names that tell it in no such word: GitLab and PagerDuty (act as), SAP (tenant), Dropbox (namespace), Magento, IG.
_NAMES: Final = frozenset({b"sudo", b"from", b"sap-client", b"dropbox-api-path-root", b"store", b"cst"})

# Taken out of a name before the words are looked for.
_HARMLESS: Final = (
    b"user-agent", b"useragent",  # and what SDKs add to it: x-amz-user-agent, x-stripe-client-user-agent
    b"idempotency-key", b"idempotency-token", b"idempotencykey",  # new for each call, also for reads of some SDKs
    b"-sec-websocket-key-",  # RFC 6455, 11.3.1: random
    b"-sec-fetch-user-",  # whether a click led to it
    b"surrogate-key", b"cache-key",  # the vocabulary of CDNs
    b"-auth0-client-",  # the version of an SDK
)  # fmt: skip

_SEPARATORS: Final = bytes.maketrans(b"_.", b"--")
_LONGEST: Final = 64  # bytes; nobody's field has a longer name, and searching one takes its time


def names_caller(lower: bytes) -> bool:
    """Whether the field of this (lower-cased) name may tell whose data an answer holds."""
    return _TELLING[lower]


def partition(headers: Headers) -> str:
    """What keeps the answers of different callers apart: a digest, or "" where nothing tells who calls.

    The same fields with the same values give the same partition, in any order.
    """
    telling = [(lower, value) for lower, _, value in headers.fields if _TELLING[lower]]
    if not telling:
        return ""
    telling.sort()
    # Lengths first: no value can be made to look like the end of it and another field.
    told = b"".join([b"%d %d %b%b" % (len(lower), len(value), lower, value) for lower, value in telling])
    return hashlib.sha256(told).hexdigest()[:32]


def _tells(lower: bytes) -> bool:
    if lower in _NAMES or len(lower) > _LONGEST:
        return True
    name = b"-%b-" % lower.translate(_SEPARATORS)
    for part in _HARMLESS:
        name = name.replace(part, b"-")
    return any(word in name for word in _WORDS)


class _Telling(dict[bytes, bool]):
    """Memo of which names tell; bounded, since the other side chooses the keys."""

    _LIMIT: Final = 2048

    def __missing__(self, lower: bytes) -> bool:
        tells = _tells(lower)
        if len(self) < self._LIMIT and len(lower) <= _LONGEST:
            self[lower] = tells
        return tells


_TELLING: Final = _Telling()
