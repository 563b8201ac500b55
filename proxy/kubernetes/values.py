"""How what is said of a pod is written: text in, a checked value out, or a sentence about what to write instead.

Called by annotations.py and settings.py, for which the same words mean the same. Each reader takes text and raises
ValueError with what is expected, as in "write a port from 1 to 65535"; who calls it says where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Final

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")  # RFC 1123
_LONGEST_NAME: Final = 253
_QUANTITY: Final = re.compile(r"(\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei|[eE]\d{1,2})?")
_SUFFIXES: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{name: Decimal(1000) ** power for power, name in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate(("K", "M", "G", "T", "P", "E"), 1)},
}


def switch(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in {"true", "false"}:
        raise ValueError('write "true" or "false"')
    return text == "true"


def one_of(*words: str) -> Callable[[str], str]:
    """A reader of one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"write {', '.join(words[:-1])} or {words[-1]}")
        return text

    return read


def name(text: str) -> str:
    """The name of an object of Kubernetes, or of a container."""
    if len(text) > _LONGEST_NAME or not _NAME.fullmatch(text):
        raise ValueError("write a name of lower-case letters, digits, '-' and '.'")
    return text


def names(text: str) -> tuple[str, ...]:
    """Some of them, parted by commas."""
    return tuple(name(part) for part in _parts(text))


def quantity(text: str) -> str:
    """An amount of a resource, more than nothing."""
    if not _QUANTITY.fullmatch(text) or not amount(text):
        raise ValueError("write a quantity, such as 50m for cpu or 64Mi for memory")
    return text


def amount(text: str) -> Decimal:
    """What a quantity is, to compare it with others."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix = found[1], found[2] or ""
    return Decimal(number) * (_SUFFIXES[suffix] if suffix in _SUFFIXES else Decimal(f"1{suffix}"))


def ports(text: str) -> tuple[int, ...]:
    """Port numbers, parted by commas."""
    return tuple(_port(part) for part in _parts(text))


def networks(text: str) -> tuple[str, ...]:
    """Networks as address/bits, parted by commas."""
    return tuple(_network(part) for part in _parts(text))


def number(text: str) -> int:
    """A user id that is not root's."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise ValueError("write a user id of its own, such as 7070; 0 is root's")
    return int(text)


def image(text: str) -> str:
    """A reference of an image; the container runtime knows its grammar best."""
    if not text or text.split() != [text]:
        raise ValueError("write an image, such as registry.example/backstay:0.1.0")
    return text


def shown(value: Any) -> str:
    """A value as a message shows it, in a line of bounded length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _parts(text: str) -> Iterable[str]:
    """Without blanks, each once; nothing at all is an empty list, which takes back one of the installation."""
    return dict.fromkeys(part.strip() for part in text.split(",")) if text.strip() else ()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise ValueError("write ports from 1 to 65535, as in 5432,6379")
    return int(text)


def _network(text: str) -> str:
    """Without the zone that an IPv6 address may name (``fe80::%eth0``): it may be any text, and would go into rules."""
    try:
        network = ip_network(text)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise ValueError("write networks whose host bits are zero, as in 10.0.0.0/8,fd00::/8")
    return str(network)
