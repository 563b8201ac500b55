"""A stored answer as its operator may see it: what it is and how old, without its body and without secrets.

Used by ``control.py`` for the admin API. An operator of the sidecar is not the owner of every key that passes through
it, and what is listed ends up in tickets. So these are masked, in targets as well as in header values:

1. the value of a field or a parameter whose name speaks of a credential,
2. the user and password of a url,
3. whatever has the form of a well-known kind of key, wherever it stands,
4. what the configuration has from a file or a variable, in the path of an api's url.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from proxy.core.freshness import age, derive

if TYPE_CHECKING:
    from proxy.core.freshness import CacheSettings
    from proxy.stores.base import Listed

MASK: Final = "***"

_SECRET_NAME: Final = re.compile(
    r"auth(?!or(?!i)) | token(?!s) | secret | passw | pwd | credential | signature | session | cookie | jwt | bearer"
    r"| keys?(?![a-z]) | (?<![a-z])(?:pass|sig|sid|otp|pin|hmac|appid|nonce)(?![a-z]) | ^code$",
    re.VERBOSE | re.IGNORECASE,
)
# A url may stand in a parameter of another, percent-encoded. Names are bounded: no text costs more than a look at each.
_NAME: Final = re.compile(r"""(?:[?&;\#]|%3F|%26)([^=&;?\#\s<>"']{1,128}?)(?:=|%3D)""", re.IGNORECASE)
_ENDS: Final = re.compile(r"""[&;\#\s<>"']|\Z""")  # of a value
_USER: Final = re.compile(r"//[^/?\#\s]*@")
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|rk|gh[opsu]|github_pat|glpat|xox[a-z]|whsec)[-_][\w-]{10,}"  # Stripe, OpenAI, GitHub, GitLab, Slack
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{10,}"  # AWS, Google
    r"|eyJ[\w-]{8,300}\.[\w-]+\.[\w-]*"  # a JWT (RFC 7519)
    r"|bot\d{6,12}(?::|%3[Aa])[\w-]{30,}"  # Telegram: it stands in the path
    r")"
)


def shown(listed: Listed, store: str, rules: CacheSettings | None, now: float) -> dict[str, Any]:
    """A line of a list, JSON-able. ``rules`` are those in force for its route, if there are any; ``now`` is wall.

    ``age`` and ``fresh_for`` are in seconds; the latter is below 0 for what is stale, None where nobody can tell.
    """
    stored = listed.stored
    if rules is not None and stored.settings is not rules:
        derive(stored, rules)
    fresh_for = stored.fresh_until - now
    return {
        "id": listed.ident,
        "api": stored.api,
        "route": stored.route,
        "method": text(stored.method),
        "target": masked(text(stored.target)),
        "status": stored.status,
        "size": stored.size,
        "age": round(age(stored, now), 3),
        "fresh_for": round(fresh_for, 3) if math.isfinite(fresh_for) else None,
        "vary": {text(name): None if value is None else field(text(name), text(value)) for name, value in stored.vary},
        "store": store,
    }


def shown_whole(listed: Listed, store: str, rules: CacheSettings | None, now: float) -> dict[str, Any]:
    """The same, and the header fields that it is served with, as pairs: names may be repeated."""
    fields = [[text(name), field(text(name), text(value))] for name, value in listed.stored.headers]
    return {**shown(listed, store, rules, now), "headers": fields}


def field(name: str, value: str) -> str:
    """The value of a header field, or the mask."""
    return MASK if is_secret(name) else masked(value)


def masked(value: str) -> str:
    """A target, a url or any text, with the secrets in it masked."""
    return _KEY.sub(MASK, _USER.sub(f"//{MASK}@", _without_parameters(value)))


def veiled(target: str, own: str, shown: str) -> str:
    """A target without a secret in the path of its api's url, ``own``, of which people see ``shown``.

    One that was stored before that secret changed has another in its place: any segment there is one.
    """
    if MASK not in shown:
        return target
    if target.startswith(own):
        return shown + target[len(own) :]
    known = re.split(r"\*{3,}", shown)
    return re.sub("^" + "[^/?]+".join(map(re.escape, known)), lambda _: shown, target)


def is_secret(name: str) -> bool:
    """Whether what has this name, in whatever case, is to be taken for a secret."""
    return _SECRET_NAME.search(name) is not None


def _without_parameters(value: str) -> str:
    parts: list[str] = []
    done = 0
    for match in _NAME.finditer(value):
        if match.start() >= done and is_secret(unquote(match[1])):
            parts += value[done : match.end()], MASK
            done = next(_ENDS.finditer(value, match.end())).start()
    return "".join([*parts, value[done:]])


def text(value: bytes) -> str:
    """Bytes of HTTP as text: each is a character."""
    return value.decode("latin-1")
