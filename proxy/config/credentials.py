"""The rules for credentials that Backstay sets: their names, and what stands in for them in an agent.

Called by ``load.py`` on what is not broken. A placeholder is sought in whatever an agent sends, so it has to be like
nothing else: no part of another, and of no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy.config import kinds
from proxy.config.document import Mapping, display
from proxy.config.outbound import PARAMETER
from proxy.config.problems import Problems
from proxy.config.schema import Document
from proxy.config.units import UnitError
from proxy.config.urls import MASK
from proxy.config.validate import Place, find
from proxy.core.fallback import RESERVED_FIELDS

_BACKSTAYS: Final = RESERVED_FIELDS | {b"expect", b"host", b"proxy-authenticate", b"via"}
_ITS_OWN_KEY: Final = b"proxy-authorization"
_FORMS: Final = "write a name such as authorization or x-api-key, or query:NAME"


class _Given(NamedTuple):
    """A credential, and where it is."""

    api: str
    name: str
    value: str
    placeholder: str | None
    at: Place

    def __str__(self) -> str:
        return f"{self.api}.credentials.{self.name} ({self.at.key})"


def check_credentials(document: Document, root: Mapping, problems: Problems) -> None:
    """Note what is wrong with the credentials of all apis, one by one and together."""
    for api in document.apis:
        _names(find(root, ("apis", api, "credentials")), problems)
    given = list(_given(document, root))
    for index, each in enumerate(given):
        place = find(root, ("apis", each.api, "credentials", each.name, "placeholder"))
        if (clash := next(_clashes(each, display(place.node), given[:index], given), None)) is not None:
            problems.add(place.node.mark, place.path, clash, "choose one that is found nowhere else")


def _names(credentials: Place, problems: Problems) -> None:
    """Those of broken credentials, too."""
    if not isinstance(credentials.node, Mapping):
        return
    seen: dict[str, str] = {}
    for name, entry in credentials.node.entries.items():
        complaint = _complaint(name, seen.setdefault(_folded(name), name))
        if complaint is not None:
            problems.add(entry.key, f"{credentials.path}.{name}", *complaint)


def _given(document: Document, root: Mapping) -> Iterator[_Given]:
    for api, settings in document.apis.items():
        for name, credential in settings.credentials.items():
            place = find(root, ("apis", api, "credentials", name))
            yield _Given(api, name, credential.value, credential.placeholder, place)


def _folded(name: str) -> str:
    """Fields are the same in any case, parameters are not."""
    return name if name.startswith(PARAMETER) else name.lower()


def _complaint(name: str, first: str) -> tuple[str, str] | None:
    if first != name:
        return f"{first!r} is given already", "keep one of the two"
    if name.startswith(PARAMETER):
        if re.fullmatch("[!-~]+", name.removeprefix(PARAMETER)):
            return None
        return f"{name!r} names no parameter", "write query: and its name without blanks, such as query:api_key"
    try:
        lower = kinds.FIELD.read(name).encode()
    except UnitError:
        prefix, _, rest = name.partition(":")
        hint = {"query": f"write {PARAMETER}{rest}", "header": f"write {rest}: fields have no prefix"}
        return f"{name!r} is neither the name of a field nor query:NAME", hint.get(prefix.lower(), _FORMS)
    if lower == _ITS_OWN_KEY:
        remedy = "write it in upstream_proxy: http://user:password@host:port"
        return f"{name!r} is for a proxy on the way, and not for the api", remedy
    if lower in _BACKSTAYS or lower.startswith(b"backstay-"):
        return f"{name!r} is for Backstay to say", "remove it"
    return None


def _clashes(each: _Given, shown: str, before: list[_Given], everything: list[_Given]) -> Iterator[str]:
    """What its placeholder could be taken for. ``shown``: the placeholder as it may be shown."""
    text = each.placeholder
    if text is None:
        return
    for other in everything:
        if text in other.value:
            yield f"{MASK} is found in the secret of {other}"  # or is the secret, by mistake
    for other in before:
        if text == other.placeholder:
            yield f"{shown} is the placeholder of {other}, too"
        elif other.placeholder is not None and (text in other.placeholder or other.placeholder in text):
            yield f"{shown} and the placeholder of {other} are one within the other"
