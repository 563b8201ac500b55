"""What may leave, by which way, and with which credentials: read and checked.

Called by ``kinds.py`` for the keys that take such values. What is a secret is never part of what is said about it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from proxy.config.settings import UpstreamProxy
from proxy.config.units import ADDRESS, UnitError, read_address, write_address
from proxy.config.urls import HOST, MASK
from proxy.core.egress import Pattern, parse_pattern

_USER: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"  # RFC 3986, 3.2.1
PROXY: Final = rf"[hH][tT][tT][pP]://(?:{_USER}*(?::(?:{_USER}|:)*)?@)?{ADDRESS}/?"
DESTINATION: Final = r"\[[0-9A-Fa-f:.]+(?:/[0-9]+)?\](?::[0-9]+)?|[^\s/\[\]]+(?:/[0-9.]+)?(?::[0-9]+)?"
NAMES: Final = r"(?:\*\.)?[^\s/:*\[\]]+"
VALUE: Final = r"[!-~](?:[ -~]*[!-~])?"
STAND_IN: Final = r"[A-Za-z0-9_-]{8,128}"
PARAMETER: Final = "query:"

_A_PROXY: Final = "the url of a proxy"
_PROXY_FORM: Final = "write http://host:port, or http://user:password@host:port"
_PROXY_REMEDIES: Final = (
    ("https:", "write http://: a proxy is spoken to in the clear, and vendors with TLS through it"),
    ("socks", "give the http:// url of an HTTP proxy: SOCKS is not spoken"),
)
_ANYWHERE: Final = "a host, an address or a network"
_ANYWHERE_FORM: Final = "write api.example.com, '*.example.com', 10.0.0.0/8, each with :PORT or without"
_NAMES: Final = "the name of a host"
_NAMES_FORM: Final = "write a name such as api.example.com, or '*.example.com' for all below it"


def read_proxy(value: Any) -> UpstreamProxy:
    """A proxy on the way out; user and password are percent-decoded (RFC 3986) and made a Basic value (RFC 7617)."""
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(PROXY, text):
        raise UnitError(_A_PROXY, _proxy_remedy(text), _proxy_hint(text))
    userinfo, at, place = text[len("http://") :].removesuffix("/").rpartition("@")
    host, port = _place(place)
    return UpstreamProxy(host, port, _basic(userinfo) if at else None)


def _place(text: str) -> tuple[str, int]:
    try:
        host, port = read_address(text)
        if port > 0:
            return host.lower(), port
    except UnitError:
        pass
    raise UnitError(_A_PROXY, "check its host and port: the port is a number from 1 to 65535")


def _basic(userinfo: str) -> bytes:
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    if pair == b":":
        raise UnitError("a url with a user before the @", "see that user and password are not empty, or take the @ out")
    if b":" in unquote_to_bytes(user):
        raise UnitError("a url with a user that can be sent", "take the colon out of the user's name: Basic has none")
    if re.search(rb"[\x00-\x1f\x7f]", pair):
        raise UnitError("a url with a user and a password", "take control characters (%0A and the like) out of them")
    return b"Basic " + b64encode(pair)


def _proxy_remedy(text: str) -> str:
    for scheme, remedy in _PROXY_REMEDIES:
        if text.lower().startswith(scheme):
            return remedy
    if "@" in text:
        return "write http://user:password@host:port, and in user and password %40 for @, %2F for /, %25 for %"
    return _PROXY_FORM


def _proxy_hint(text: str) -> str | None:
    """A host with its port, or a url with more than that, says well enough what was meant."""
    found = re.fullmatch(rf"(?:http://|//)?({ADDRESS})(?:[/?#].*)?", text, re.DOTALL | re.IGNORECASE)
    if found:
        return f"write http://{found[1]}"
    nowhere = re.fullmatch(rf"(?:http://)?{HOST}/?", text, re.IGNORECASE)
    return "write its port, too: http://host:3128" if nowhere else None


def write_proxy(proxy: UpstreamProxy | str) -> str:
    """The inverse, less the credentials; the word ``off`` stays."""
    if isinstance(proxy, str):
        return proxy
    return f"http://{f'{MASK}@' if proxy.authorization else ''}{write_address((proxy.host, proxy.port))}"


def read_destination(value: Any) -> Pattern:
    """Hosts or addresses, and perhaps a port."""
    if not isinstance(value, str):
        raise UnitError(_ANYWHERE, _ANYWHERE_FORM)
    try:
        return parse_pattern(value)
    except ValueError as error:
        raise UnitError(_ANYWHERE, _ANYWHERE_FORM, str(error).rpartition("; ")[2]) from None


def read_names(value: Any) -> Pattern:
    """Hosts alone: what a client asks for before anybody knows an address."""
    try:
        pattern = read_destination(value)
    except UnitError:
        hint = "write its host alone" if isinstance(value, str) and "://" in value else None
        raise UnitError(_NAMES, _NAMES_FORM, hint) from None
    if pattern.host is None:
        raise UnitError(_NAMES, f"{_NAMES_FORM}: in TLS, a client gives the name")
    if pattern.port is not None:
        raise UnitError(_NAMES, _NAMES_FORM, f"write {pattern.text.rpartition(':')[0]}: it holds for every port")
    return pattern


def write_pattern(pattern: Pattern) -> str:
    """As it was written."""
    return pattern.text


def read_secret(value: Any) -> str:
    """One line of visible ASCII."""
    text = value if isinstance(value, str) else ""
    bare = text.strip()
    if value is None or (bare == "" and text == value):
        raise UnitError("a credential", "write ${file:/path} or ${env:NAME}, and see that it is not empty")
    if text != value:
        raise UnitError("text", "put it in quotes, or write ${file:/path} or ${env:NAME}")
    if re.fullmatch(VALUE, text):
        return text
    if "\n" in bare or "\r" in bare:
        raise UnitError("one line", "check that it is the right file: a credential is one line")
    if bare != text:
        raise UnitError("a credential without blanks around it", "take them away, also in the file that it comes from")
    raise UnitError("visible ASCII", "look for accents, typographic quotes and invisible characters in it")
