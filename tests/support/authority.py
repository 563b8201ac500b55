"""Certificate authorities that a test makes to measure, and handshakes without a socket. For tests of interception."""

from __future__ import annotations

import datetime as dt
import gc
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from tests.support.virtual import EPOCH

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

DAY = 86400.0
NOW = EPOCH


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    protection: KeySerializationEncryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def made(
    name: str = "Test CA",
    *,
    ca: bool | None = True,
    key: Key | None = None,
    issuer: Made | None = None,
    since: float = NOW - DAY,
    until: float = NOW + 365 * DAY,
    usage: bool | None = None,
    host: str | None = None,
) -> Made:
    """A CA's certificate, unless ``ca`` is False, or None: it says nothing of it. ``usage``: may it sign others?

    ``host`` is a name or an address that it is good for. Key identifiers it has none.
    """
    own = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(since, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(until, dt.UTC))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usage is not None:
        builder = builder.add_extension(_usage(usage), critical=True)
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
    signer = own if issuer is None else issuer.key
    return Made(builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()), own)


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(may_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not may_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=may_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def put(directory: Path, certificates: bytes, key: bytes, stem: str = "ca", mode: int = 0o600) -> Path:
    """As an operator gives an authority; returns the directory."""
    directory.mkdir(exist_ok=True)
    (directory / f"{stem}.crt").write_bytes(certificates)
    path = directory / f"{stem}.key"
    path.write_bytes(key)
    path.chmod(mode)
    return directory


def strict(trusted: Path | bytes) -> ssl.SSLContext:
    """A client as Python 3.13 makes it: RFC 5280 to the letter. Its own clock is the real one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    if isinstance(trusted, Path):
        context.load_verify_locations(cafile=trusted)
    else:
        context.load_verify_locations(cadata=trusted.decode())
    return context


def as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults of Python's contexts are those of 3.13, whichever this one is."""
    default = ssl.create_default_context

    def newer(*arguments: Any, **more: Any) -> ssl.SSLContext:
        context = default(*arguments, **more)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(ssl, "create_default_context", newer)


def server_of(certificate: Made, folder: Path) -> ssl.SSLContext:
    """A server with this certificate, which is put into ``folder`` for it."""
    put(folder, certificate.pem, certificate.key_pem, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """The client's side of a connection that is made. Raises what the client raises."""
    ways = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(ways[0], ways[1], server_hostname=name)
    theirs = server.wrap_bio(ways[1], ways[0], server_side=True)
    waiting = {ours, theirs}
    while waiting:
        for side in waiting.copy():
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.discard(side)
    return ours


def living_contexts() -> int:
    """How many TLS contexts this process has."""
    gc.collect()
    return sum(isinstance(thing, ssl.SSLContext) for thing in gc.get_objects())
