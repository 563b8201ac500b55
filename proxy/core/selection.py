"""Owns the answer that a request gets out of a stored one (RFC 9111, 4.3.2; RFC 9110, 13 and 14)."""

from __future__ import annotations

from proxy.core.asked import Asked
from proxy.core.stored import Stored
from proxy.model import Headers, Response


def select(stored: Stored, method: bytes, asked: Asked, request_headers: Headers, now: float) -> Response:
    """The stored answer, a 304, a 206 or a 416, with its Age at ``now`` (wall)."""
    raise NotImplementedError
