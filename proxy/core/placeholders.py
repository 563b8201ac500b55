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
        self._foreign = sorted(set(foreign) - set(self._secrets), key=_longest_first)
        known = sorted([*self._foreign, *self._secrets], key=_longest_first)
        self._in_value = re.compile(b"|".join([re.escape(each) for each in known]))
        self._in_query = re.compile(_NO_ESCAPE + b"(?:" + b"|".join([_spellings(each) for each in known]) + b")")

    def dress(self, request: Request) -> Request:
        """The request as it may be sent: the same object if nothing had to be changed. Raises PlaceholderMisused."""
        fields = self._dressed_fields(request.headers.fields)
        target = self._dressed_target(request.target)
        if self._foreign:
            self._refuse(fields, target)
        if fields is request.headers.fields and target is request.target:
            return request
        dressed = request.revised(Headers(fields))
        dressed.target, dressed.query = target, target.partition(b"?")[2]
        dressed.upgrade = request.upgrade
        return dressed

    # --- header fields ----------------------------------------------------------------------------------------------

    def _dressed_fields(self, fields: list[Field]) -> list[Field]:
        if not self._fields and not self._secrets:
            return fields
        missing = self._fields.copy()
        dressed: list[Field] = []
        changed = False
        for each in fields:
            lower, name, value = each
            if lower in self._fields:
                changed = True
                if lower in missing:
                    dressed.append(missing.pop(lower))
                continue
            swapped = self._swapped(value) if self._secrets else value
            changed = changed or swapped is not value
            dressed.append(each if swapped is value else (lower, name, swapped))
        if not changed and not missing:
            return fields
        return dressed + list(missing.values())

    def _swapped(self, value: bytes) -> bytes:
        """A field's value with secrets in the place of their placeholders; the same object if it has none."""
        for placeholder in self._secrets:
            if placeholder in value:
                value = self._in_value.sub(self._secret_of, value)
                break
        pair = _basic(value)
        if pair is not None and any(placeholder in pair for placeholder in self._secrets):
            value = value[: len(_BASIC)] + b64encode(self._in_value.sub(self._secret_of, pair))
        return value

    def _secret_of(self, found: re.Match[bytes]) -> bytes:
        if found[0] not in self._secrets:
            raise _misused(found[0], "header fields")
        return self._secrets[found[0]]

    # --- the query --------------------------------------------------------------------------------------------------

    def _dressed_target(self, target: bytes) -> bytes:
        if not (self._parameters or self._secrets) or not target.startswith(b"/"):
            return target
        path, _, query = target.partition(b"?")
        missing = self._parameters.copy()
        dressed: list[bytes] = []
        for part in query.split(b"&") if query else []:
            name = part.partition(b"=")[0]
            plain = unquote_to_bytes(name.replace(b"+", b" "))
            if plain not in self._parameters:
                dressed.append(self._in_query.sub(self._quoted_secret_of, part) if self._secrets else part)
            elif plain in missing:
                dressed.append(name + b"=" + missing.pop(plain))
        dressed += [_quoted(name) + b"=" + value for name, value in missing.items()]
        changed = b"&".join(dressed)
        return target if changed == query else path + b"?" + changed

    def _quoted_secret_of(self, found: re.Match[bytes]) -> bytes:
        placeholder = unquote_to_bytes(found[0])
        if placeholder not in self._secrets:
            raise _misused(placeholder, "query")
        return _quoted(self._secrets[placeholder])

    # --- what may not be left ---------------------------------------------------------------------------------------

    def _refuse(self, fields: list[Field], target: bytes) -> None:
        """Look for the placeholders of others in what is about to be sent. Raises PlaceholderMisused."""
        values = [value for _, _, value in fields]
        values += [pair for value in values if (pair := _basic(value)) is not None]
        text = b"\n".join(values)
        query = target.partition(b"?")[2]
        if b"%" in query:
            query += b"\n" + unquote_to_bytes(query)
        for placeholder in self._foreign:
            if placeholder in text:
                raise _misused(placeholder, "header fields")
            if placeholder in query:
                raise _misused(placeholder, "query")

    def __repr__(self) -> str:
        return f"<Dresser fields={list(self._fields)} parameters={list(self._parameters)}>"


def _longest_first(placeholder: bytes) -> tuple[int, bytes]:
    return -len(placeholder), placeholder


def _secret(credential: Credential) -> bytes:
    """What a placeholder stands for: the value, less the scheme that precedes it in a field for authentication."""
    if credential.query or credential.name.lower() not in _AUTHORIZATION:
        return credential.value
    return _SCHEME.sub(b"", credential.value, count=1)


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


def _basic(value: bytes) -> bytes | None:
    """The user and the password of a Basic value, decoded as leniently as any server might; None: it is none."""
    if value[: len(_BASIC)].lower() != _BASIC:
        return None
    try:
        return binascii.a2b_base64(value[len(_BASIC) :] + b"==")
    except binascii.Error:
        return None


def _misused(placeholder: bytes, where: str) -> PlaceholderMisused:
    name = placeholder.decode("latin-1")
    return PlaceholderMisused(f"{name}, the placeholder of a credential of another api, stands in the {where}.")
