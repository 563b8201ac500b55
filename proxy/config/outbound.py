"""What may leave, and with which credentials: patterns of hosts, and secrets, read and checked.

Called by ``kinds.py`` for the keys that take them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.config.units import UnitError
from proxy.core.egress import Pattern, parse_pattern

QUERY: Final = "query:"
PARAMETER: Final = r"[A-Za-z0-9._~$-]+"
STAND_IN: Final = r"[A-Za-z0-9_-]{8,128}"
_SECRET: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_DESTINATION: Final = "a host, an address or a network"
_PATTERN: Final = "write api.example.com, '*.example.com' for all below it, or 10.0.0.0/8, each with :PORT or without"


def read_pattern(value: Any) -> Pattern:
    """Hosts or addresses, and perhaps a port."""
    if not isinstance(value, str):
        raise UnitError(_DESTINATION, _PATTERN)
    try:
        return parse_pattern(value)
    except ValueError as error:
        raise UnitError(_DESTINATION, _PATTERN, str(error).rpartition("; ")[2]) from None


def read_host_pattern(value: Any) -> Pattern:
    """Hosts alone: what a client asks for before anybody knows an address."""
    pattern = read_pattern(value)
    if pattern.host is None or pattern.port is not None:
        hint = None if pattern.host is None else f"write {pattern.host}: it holds for every port"
        raise UnitError("the name of a host", "write a name such as api.example, or *.example for all below it", hint)
    return pattern


def write_pattern(pattern: Pattern) -> str:
    """As it was written."""
    return pattern.text


def read_secret(value: Any) -> str:
    """One line of visible ASCII; what it is not is said without it."""
    if not isinstance(value, str):
        raise UnitError("text", "put it in quotes, or write ${file:/path} or ${env:NAME}")
    if _SECRET.fullmatch(value):
        return value
    if not value.strip():
        raise UnitError("a credential", "write ${file:/path} or ${env:NAME}, and see that it is not empty")
    if "\n" in value.strip() or "\r" in value.strip():
        raise UnitError("one line", "check that it is the right file: a credential has one line")
    if value != value.strip():
        raise UnitError("a value without blanks around it", "take them away, in the file that it comes from, too")
    raise UnitError("visible ASCII", "check for quotes, accents and invisible characters in it")
