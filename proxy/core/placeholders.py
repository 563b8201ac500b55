"""Owns how credentials that the agent never holds get into its calls, and where their placeholders may not go.

Called by ``config`` (settings) and ``wire/pool.py`` (every call of an api that has some, and of all others while any
placeholder exists).

==========================================  ========================================================================
what stands in a call                       what becomes of it
==========================================  ========================================================================
fields of a credential's name               one field with its value, where the first stood, or at the end
parameters of a credential's name           one parameter with its value, likewise
a placeholder of its own api                the secret: the value of the credential, less its scheme ("Bearer ")
a placeholder of another api, after that    PlaceholderMisused: nothing is sent
==========================================  ========================================================================

A placeholder is sought in the values of header fields, in the user and password of a Basic value (RFC 7617), and in the
query, however its characters are spelled (RFC 3986, 2.1). It is not sought in the path, for no secret belongs in what
every log takes down, nor in bodies, which stream. Where one placeholder is a part of another, the longer one counts.
Whatever is not replaced keeps its place and its bytes.

TRACE is answered with the request itself, so nothing is set in one (RFC 9110, 9.3.8): a server that serves it would
tell the agent the secret.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from proxy.errors import PlaceholderMisused
from proxy.model import Headers

if TYPE_CHECKING:
    from proxy.model import Field, Request

_BASIC: Final = b"basic "
_SCHEME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ +(?=[^ ]+$)")  # auth-scheme (RFC 9110, 11.4)
_ECHOED: Final = frozenset({b"TRACE", b"TRACK"})  # the second is Microsoft's
_AUTHORIZATION: Final = frozenset({b"authorization", b"proxy-authorization"})
_HEX: Final = rb"[0-9A-Fa-f]"
_NO_ESCAPE: Final = rb"(?!(?<=%%)%b%b)(?!(?<=%%%b)%b)" % (_HEX, _HEX, _HEX, _HEX)  # what follows does not end one


@dataclass(frozen=True, slots=True)
class Credential:
    """A header field or a query parameter that Backstay sets."""

    name: bytes  # of the field, as it is sent, or of the parameter
    value: bytes = field(repr=False)
    query: bool = False  # a parameter of the query, not a header field
    placeholder: bytes | None = None  # what the agent may send in its place


class Dresser:
    """Puts the credentials of one api into its calls. ``foreign``: the placeholders of all others."""

    __slots__ = ("_fields", "_foreign", "_in_query", "_in_value", "_parameters", "_secrets")

    def __init__(self, own: Sequence[Credential], foreign: Sequence[bytes]) -> None:
        self._fields: dict[bytes, Field] = {
            each.name.lower(): (each.name.lower(), each.name, each.value) for each in own if not each.query
        }
        self._parameters = {each.name: _quoted(each.value) for each in own if each.query}
        self._secrets = {each.placeholder: _secret(each) for each in own if each.placeholder is not None}
        set_here = _text([each.value for each in own])  # what the operator sends there may go there
        self._foreign = [each for each in foreign if each not in self._secrets and each not in set_here]
        known = sorted({*self._foreign, *self._secrets}, key=len, reverse=True)
        self._in_value = re.compile(_any_of([re.escape(each) for each in known]))
        self._in_query = re.compile(_NO_ESCAPE + _any_of([_spellings(each) for each in known]))

    def dress(self, request: Request) -> Request:
        """The request as it may be sent: the same object if nothing had to be changed. Raises PlaceholderMisused."""
        fields, target = request.headers.fields, request.target
        if request.method.upper() in _ECHOED:
            query = target.partition(b"?")[2]
            self._refuse(_text([value for _, _, value in fields]), "header fields")
            self._refuse(query + b"\n" + unquote_to_bytes(query), "query")
            return request
        # Most calls hold no placeholder at all, and are looked at once.
        text = b"\n".join([value for lower, _, value in fields if lower not in self._fields])
        if self._in_value.search(text) is not None or _BASIC in text.lower():
            fields = self._swapped_fields(fields)
        if self._in_value.search(unquote_to_bytes(target) + target if b"%" in target else target) is not None:
            target = self._swapped_target(target)
        if self._fields:
            fields = self._with_fields(fields)
        if self._parameters and target.startswith(b"/"):
            target = self._with_parameters(target)
        if fields is request.headers.fields and target == request.target:
            return request
        dressed = request.revised(Headers(fields))
        dressed.target, dressed.query = target, target.partition(b"?")[2]
        dressed.upgrade = request.upgrade
        return dressed

    # --- placeholders -----------------------------------------------------------------------------------------------

    def _swapped_fields(self, fields: list[Field]) -> list[Field]:
        """With secrets in the place of their placeholders: the same list if there is none. Raises PlaceholderMisused.

        What a credential will replace is not looked at.
        """
        swapped = [each if each[0] in self._fields else (each[0], each[1], self._swapped(each[2])) for each in fields]
        text = _text([value for lower, _, value in swapped if lower not in self._fields])
        self._refuse(text, "header fields")
        return fields if swapped == fields else swapped

    def _swapped(self, value: bytes) -> bytes:
        if self._secrets:
            value = self._in_value.sub(self._secret_of, value)
            if (pair := _basic(value)) is not None and (
                with_secret := self._in_value.sub(self._secret_of, pair)
            ) != pair:
                return value[: len(_BASIC)] + b64encode(with_secret)
        return value

    def _secret_of(self, found: re.Match[bytes]) -> bytes:
        if found[0] not in self._secrets:
            raise _misused(found[0], "header fields")
        return self._secrets[found[0]]

    def _swapped_target(self, target: bytes) -> bytes:
        path, mark, query = target.partition(b"?")
        parts = [each if self._sets(each) else self._swapped_part(each) for each in query.split(b"&")]
        rest = b"&".join([each for each in parts if not self._sets(each)])
        self._refuse(rest + b"\n" + unquote_to_bytes(rest), "query")
        return path + mark + b"&".join(parts)

    def _swapped_part(self, part: bytes) -> bytes:
        return self._in_query.sub(self._quoted_secret_of, part) if self._secrets else part

    def _quoted_secret_of(self, found: re.Match[bytes]) -> bytes:
        placeholder = unquote_to_bytes(found[0])
        if placeholder not in self._secrets:
            raise _misused(placeholder, "query")
        return _quoted(self._secrets[placeholder])

    def _refuse(self, text: bytes, where: str) -> None:
        for placeholder in self._foreign:
            if placeholder in text:
                raise _misused(placeholder, where)

    # --- credentials ------------------------------------------------------------------------------------------------

    def _with_fields(self, fields: list[Field]) -> list[Field]:
        missing = self._fields.copy()
        dressed: list[Field] = []
        for each in fields:
            if each[0] not in self._fields:
                dressed.append(each)
            elif each[0] in missing:
                dressed.append(missing.pop(each[0]))
        return dressed + list(missing.values())

    def _with_parameters(self, target: bytes) -> bytes:
        path, _, query = target.partition(b"?")
        missing = self._parameters.copy()
        dressed: list[bytes] = []
        for part in query.split(b"&") if query else []:
            if not self._sets(part):
                dressed.append(part)
            elif (name := _name_of(part)) in missing:
                dressed.append(part.partition(b"=")[0] + b"=" + missing.pop(name))
        dressed += [_quoted(name) + b"=" + value for name, value in missing.items()]
        return path + b"?" + b"&".join(dressed)

    def _sets(self, part: bytes) -> bool:
        """Whether this part of a query is a parameter that a credential replaces."""
        return bool(self._parameters) and _name_of(part) in self._parameters

    def __repr__(self) -> str:
        return f"<Dresser fields={list(self._fields)} parameters={list(self._parameters)}>"


def _secret(credential: Credential) -> bytes:
    """What a placeholder stands for: the value, less the scheme that precedes it in a field for authentication."""
    if credential.query or credential.name.lower() not in _AUTHORIZATION:
        return credential.value
    return _SCHEME.sub(b"", credential.value, count=1)


def _any_of(patterns: list[bytes]) -> bytes:
    return b"(?:" + b"|".join(patterns) + b")" if patterns else b"(?!)"


def _spellings(placeholder: bytes) -> bytes:
    """A pattern of all ways to write it in a query."""
    octets = [
        b"(?:%b|%%%b)" % (re.escape(bytes([octet])), b"".join([_either_case(digit) for digit in b"%02x" % octet]))
        for octet in placeholder
    ]
    return b"".join(octets)


def _either_case(digit: int) -> bytes:
    low, high = bytes([digit]), bytes([digit]).upper()
    return low if low == high else b"[%b%b]" % (low, high)


def _quoted(value: bytes) -> bytes:
    return quote_from_bytes(value, safe="").encode()


def _name_of(part: bytes) -> bytes:
    return unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" "))


def _text(values: list[bytes]) -> bytes:
    """All that can be read in the values of fields."""
    return b"\n".join(values + [pair for value in values if (pair := _basic(value)) is not None])


def _basic(value: bytes) -> bytes | None:
    """The user and the password of a Basic value, decoded as leniently as a server might; None: it is none."""
    if value[: len(_BASIC)].lower() != _BASIC:
        return None
    try:
        return binascii.a2b_base64(value[len(_BASIC) :] + b"==")
    except binascii.Error:
        return None


def _misused(placeholder: bytes, where: str) -> PlaceholderMisused:
    name = placeholder.decode("latin-1")
    return PlaceholderMisused(f"{name}, the placeholder of a credential of another api, stands in the {where}.")
