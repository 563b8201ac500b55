"""Owns which requests a stored answer answers (RFC 9111, 4.1)."""

from __future__ import annotations

from proxy.core.stored import VaryValues
from proxy.model import Headers


def names(headers: Headers, more: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """The request fields on which an answer depends, sorted and lower-cased; None for "*"."""
    raise NotImplementedError


def values(names: tuple[bytes, ...], request_headers: Headers) -> VaryValues:
    """Those fields of a request, normalised."""
    raise NotImplementedError


def matches(stored_vary: VaryValues, request_headers: Headers) -> bool:
    """Whether a request has the fields for which an answer was stored."""
    raise NotImplementedError


def key(primary: str, nonce: str, values: VaryValues) -> str:
    """The key of a variant."""
    raise NotImplementedError
