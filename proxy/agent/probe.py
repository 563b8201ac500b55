"""One question to Backstay, asked as a client asks: through a proxy or straight, in TLS or in the clear.

Used by ways.py. The question is OPTIONS with ``Max-Forwards: 0`` (RFC 9110, 7.6.2), which Backstay answers by itself:
no vendor hears of it. In TLS it is asked only behind a certificate of our own authority; anybody else gets a handshake.

Blocking, with a limit for each step: a doctor has one patient at a time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final

from proxy.config.settings import Address

_MOST: Final = 65536  # bytes of an answer that are read


class NoAnswer(Exception):
    """How far it came: nobody is there, or nobody who speaks HTTP or TLS."""


class Refused(Exception):
    """The proxy does not connect: its status, the reason and what it says of it."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{status} {reason}: {detail}" if detail else f"{status} {reason}".rstrip())
        self.status = status
        self.reason = reason


class Untrusted(Exception):
    """A certificate that is not our authority's, or not for this host."""

    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(why)
        self.issuer = issuer


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and whose it is: ``outcome`` is Backstay's own field."""

    status: int
    outcome: str | None
    said: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether Backstay has answered by itself."""
        return self.outcome == "max_forwards" and self.said.get("by") == "backstay"


@dataclass(frozen=True, slots=True)
class Question:
    """To whom, and by which way."""

    host: str
    port: int
    secure: bool = False
    path: str = "/"
    proxy: Address | None = None  # None: straight to it
    ca_file: Path | None = None  # our authority; needed where it is secure

    @property
    def authority(self) -> str:
        """As it stands in Host, and in a CONNECT with its port."""
        return str(Address(self.host, self.port))


def ask(question: Question, timeout: float) -> Answer:
    """Ask; ``timeout`` is in seconds and for each step. Raises NoAnswer, Refused or Untrusted."""
    with _failing("no answer"), _reach(question, timeout) as connection:
        if not question.secure:
            return _exchange(connection, question)
        with _secured(connection, question, timeout) as inside:
            return _exchange(inside, question)


def connect(question: Question, timeout: float) -> None:
    """Have the proxy connect, and ask nothing. Raises NoAnswer or Refused."""
    with _failing("no answer"), _connected(question, timeout) as connection:
        _tunnel(connection, question)


def reach(question: Question, timeout: float) -> None:
    """Connect straight to it, and say nothing. Raises NoAnswer."""
    _connected(question, timeout).close()


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    """What the system and the parsers raise, as a NoAnswer."""
    try:
        yield
    except (TimeoutError, HTTPException, ValueError) as error:
        raise NoAnswer(f"{what}: {str(error) or type(error).__name__}") from None
    except OSError as error:
        raise NoAnswer(f"{what}: {error.strerror or error}") from None


@contextlib.contextmanager
def _reach(question: Question, timeout: float) -> Iterator[socket.socket]:
    """A connection to the host, or to a proxy that takes absolute-form for it."""
    with _connected(question, timeout) as connection:
        if question.proxy is not None and question.secure:
            _tunnel(connection, question)
        yield connection


def _connected(question: Question, timeout: float) -> socket.socket:
    where = question.proxy or Address(question.host, question.port)
    try:
        return socket.create_connection((where.host, where.port), timeout)
    except OSError as error:
        raise NoAnswer(f"cannot connect to {where}: {error.strerror or error}") from None


def _tunnel(connection: socket.socket, question: Question) -> None:
    authority = question.authority
    connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    response = HTTPResponse(connection, method="CONNECT")
    response.begin()
    if response.status // 100 != 2:
        said = _json(response)
        raise Refused(response.status, str(said.get("reason", response.reason)), str(said.get("detail", "")))


@contextlib.contextmanager
def _secured(connection: socket.socket, question: Question, timeout: float) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(question.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    try:
        inside = context.wrap_socket(connection, server_hostname=question.host)
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(_issuer(question, timeout), error.verify_message) from None
    with inside:
        yield inside


def _issuer(question: Question, timeout: float) -> str:
    """Who has signed, of a certificate that nobody here believes."""
    from cryptography.x509 import load_der_x509_certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        _reach(question, timeout) as connection,
        context.wrap_socket(connection, server_hostname=question.host) as inside,
    ):
        return load_der_x509_certificate(inside.getpeercert(binary_form=True) or b"").issuer.rfc4514_string()


def _exchange(connection: socket.socket, question: Question) -> Answer:
    absolute = question.proxy is not None and not question.secure
    target = f"http://{question.authority}{question.path}" if absolute else question.path
    head = f"OPTIONS {target} HTTP/1.1\r\nHost: {question.authority}\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    response = HTTPResponse(connection, method="OPTIONS")
    response.begin()
    return Answer(response.status, response.getheader("Backstay-Outcome"), _json(response))


def _json(response: HTTPResponse) -> dict[str, Any]:
    """The body as an object; empty if it is none."""
    with contextlib.suppress(ValueError):
        said = json.loads(response.read(_MOST))
        return said if isinstance(said, dict) else {}
    return {}
