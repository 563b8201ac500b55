"""Owns the authority that signs for intercepted hosts: one CA for each ``ca_dir``. Called by app.py and mint.py.

What it signs holds for a week and for one name, under one key that this process makes and forgets. Both kinds of
certificate obey RFC 5280 to the letter: Python 3.13 and others verify with X509_V_FLAG_X509_STRICT. What was decided,
and why, is in docs/adr/0014-an-authority-of-its-own.md.

``cryptography`` is imported where it is used: a sidecar that intercepts nothing does not pay its memory.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.wire import trust
from proxy.wire.ca_dir import AuthorityError, Files, find

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import AuthorityKeyIdentifier, Certificate, DNSName, IPAddress, KeyUsage, Name

    SigningKey = EllipticCurvePrivateKey | RSAPrivateKey

__all__ = ["Authority", "AuthorityError"]

_log = logging.getLogger("backstay.tls")

DAY: Final = 86400.0  # seconds
LIFE: Final = 1826 * DAY  # of a generated CA: see the ADR
LEAF_LIFE: Final = 7 * DAY
SKEW: Final = DAY  # certificates are valid since this long before they are made: clocks differ
SOON: Final = 30 * DAY  # from here on, the end of the CA is worth a warning
_LONGEST_COMMON_NAME: Final = 64  # X.520, ub-common-name
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")  # names in use are laxer than RFC 1123


class Authority:
    """A CA's key, and its certificates: that of the key first, then others that agents are to trust.

    Of those, the ones that are not self-signed go with every leaf: an authority may be an intermediate one.
    """

    def __init__(self, key: SigningKey, certificates: Sequence[Certificate]) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256

        certificate = certificates[0]
        self.pem = _pem(certificate)
        self.not_before = certificate.not_valid_before_utc.timestamp()
        self.not_after = certificate.not_valid_after_utc.timestamp()  # seconds since the epoch
        self.fingerprint = certificate.fingerprint(SHA256()).hex()
        self.name = certificate.subject.rfc4514_string()
        self._key = key
        self._certificate = certificate
        self._trusted = [_pem(each) for each in certificates]
        self._sent = b"".join(_pem(each) for each in certificates if each.subject != each.issuer)

    @classmethod
    def load(cls, ca_dir: Path, wall: float) -> Authority:
        """The authority that is kept in ``ca_dir``; one is made at the first start.

        Raises AuthorityError: its files are missing in part, cannot be read, do not belong together, are open to
        others, or no CA's, or out of date at ``wall`` (seconds since the epoch).
        """
        try:
            authority = _assembled(find(ca_dir, lambda: _generated(wall)))
        except _Mismatch:  # a mounted secret may have been renewed between one file and the other
            authority = _assembled(find(ca_dir, lambda: _generated(wall)))
        authority.demand_valid(wall, ca_dir)
        return authority

    def demand_valid(self, wall: float, ca_dir: Path) -> None:
        """Raises AuthorityError unless the CA is valid at ``wall``; that its end is near goes to the log."""
        if not self.not_before <= wall < self.not_after:
            since, until = (datetime.fromtimestamp(moment, UTC) for moment in (self.not_before, self.not_after))
            what = f"the authority is valid from {since:%Y-%m-%d} to {until:%Y-%m-%d} alone"
            remedy = "put another there, or empty the directory to have one made; then agents must be started anew"
            raise AuthorityError(errno.EINVAL, f"{what}: {remedy}", str(ca_dir))
        if self.not_after - wall < SOON:
            days = int((self.not_after - wall) / DAY)
            _log.warning(
                "the authority that signs for hosts expires soon", extra={"authority": self.name, "days": days}
            )

    def same(self, other: Authority) -> bool:
        """Whether both sign alike, and are trusted by the same certificates."""
        return self._trusted == other._trusted

    def publish(self, trust_dir: Path) -> None:
        """Put ca.crt and ca-bundle.crt (the system's roots, or certifi's, and ours) there, for agents to mount.

        Each is replaced as a whole, readable by everybody, and left alone if it is right already.
        Raises AuthorityError.
        """
        trust.publish(trust_dir, self._trusted)

    # --- leaves -----------------------------------------------------------------------------------------

    @cached_property
    def _leaf_key(self) -> EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def leaf_key(self) -> bytes:
        """The key of every leaf of this process, in PEM. It is written nowhere."""
        return _key_pem(self._leaf_key)

    def validity(self, wall: float) -> tuple[float, float]:
        """From when to when a leaf issued at ``wall`` is valid: never longer than the CA."""
        return max(wall - SKEW, self.not_before), min(wall + LEAF_LIFE, self.not_after)

    def issue(self, name: str, wall: float) -> bytes:
        """A certificate for a DNS name or an address, valid at ``wall``, and what leads to the root: a chain in PEM.

        Raises ValueError: it is neither, or the CA is valid no more.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        known_as = _subject_alternative(name)
        since, until = self.validity(wall)
        if until <= wall:
            raise ValueError("the authority has expired")
        subject = _common_name(name) if len(name) <= _LONGEST_COMMON_NAME else x509.Name([])
        public = self._leaf_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(since, UTC))
            .not_valid_after(datetime.fromtimestamp(until, UTC))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # Critical where nothing else says whose the certificate is (RFC 5280, 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([known_as]), critical=not list(subject))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        return _pem(builder.sign(self._key, SHA256())) + self._sent

    @cached_property
    def _identifier(self) -> AuthorityKeyIdentifier:
        """The CA's own identifier for its key, if it has one: clients compare them (RFC 5280, 4.2.1.1)."""
        from cryptography import x509

        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def __repr__(self) -> str:
        return f"<Authority {self.name} {self.fingerprint[:16]}>"


def _subject_alternative(name: str) -> DNSName | IPAddress:
    """Raises ValueError."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        labels = name.split(".")
        if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise ValueError(f"{name[:80]!r} is no name of a host") from None
        return x509.DNSName(name)


# --- an authority of files --------------------------------------------------------------------------------------


class _Mismatch(AuthorityError):
    """Key and certificate do not belong together."""


def _assembled(files: Files) -> Authority:
    """Raises AuthorityError."""
    from cryptography import x509

    key = _parsed_key(files)
    certificates: list[Certificate] = []
    for path, pem in ((files.certificates_path, files.certificates), (files.certificates_path, files.trusted)):
        try:
            certificates += x509.load_pem_x509_certificates(pem) if pem.strip() else []
        except ValueError:
            raise AuthorityError(errno.EINVAL, "holds no certificate in PEM that can be read", str(path)) from None
    if not certificates:
        raise AuthorityError(errno.EINVAL, "holds no certificate in PEM", str(files.certificates_path))
    if certificates[0].public_key() != key.public_key():
        what = f"its first certificate is not that of {files.key_path.name}: put both from one authority there"
        raise _Mismatch(errno.EINVAL, what, str(files.certificates_path))
    if not _may_sign(certificates[0]):
        what = "not a CA's certificate (basicConstraints CA:TRUE, keyUsage keyCertSign): hosts cannot be signed with it"
        raise AuthorityError(errno.EINVAL, what, str(files.certificates_path))
    return Authority(key, list(dict.fromkeys(certificates)))


def _parsed_key(files: Files) -> SigningKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = str(files.key_path)
    try:
        key = load_pem_private_key(files.key, password=None)
    except TypeError:
        raise AuthorityError(errno.EINVAL, "the key is encrypted: give one without a passphrase", path) from None
    except (ValueError, UnsupportedAlgorithm):
        raise AuthorityError(errno.EINVAL, "holds no private key in PEM that can be read", path) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise AuthorityError(errno.EINVAL, "a key of ECDSA or RSA is needed: few clients take another", path)
    return key


def _may_sign(certificate: Certificate) -> bool:
    from cryptography import x509

    extensions = certificate.extensions
    try:
        ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    try:
        return ca and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return ca  # without it, a key may be used for anything (RFC 5280, 4.2.1.3)


def _generated(wall: float) -> bytes:
    """Key and certificate of a new CA, in PEM: for servers' certificates alone, and none below it may be a CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # OpenSSL looks for issuers by name: two authorities must not share one.
    name = _common_name(f"Backstay interception CA {identifier.digest.hex()[:8]}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(wall - SKEW, UTC))
        .not_valid_after(datetime.fromtimestamp(wall + LIFE, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return _key_pem(key) + _pem(builder.sign(key, SHA256()))


def _usage(*, ca: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """In the elder form for EC keys (RFC 5915): OpenSSL 3 reads it in half the time."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
