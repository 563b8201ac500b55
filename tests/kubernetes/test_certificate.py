"""proxy/kubernetes/certificate.py: the newest good pair of a folder is shown."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from proxy.kubernetes.certificate import BadCertificate, Certificate, files
from tests.support.authority import Made, handshake, key_pem, made, put

NAME = "backstay.backstay.svc"


def pair(folder: Path, name: str = "first") -> Made:
    """A certificate that signs for itself, in the folder."""
    found = made(name, ca=False)
    put(folder, found.pem, found.key_pem, stem="tls")
    return found


def shown(certificate: Certificate, name: str | None = NAME) -> bytes:
    """What a client sees."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    connection = handshake(client, certificate.context, name)  # type: ignore[arg-type]
    return connection.getpeercert(binary_form=True) or b""


def der(found: Made) -> bytes:
    return ssl.PEM_cert_to_DER_cert(found.pem.decode())


@pytest.mark.parametrize("name", [NAME, None, "another.example"])
def test_the_pair_is_shown_whoever_is_asked_for(tmp_path: Path, name: str | None) -> None:
    """Probes by address send no name."""
    found = pair(tmp_path)
    assert shown(Certificate(tmp_path), name) == der(found)


def test_a_new_pair_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    """And its end is the one that is told."""
    pair(tmp_path)
    certificate = Certificate(tmp_path)
    second = made("second", ca=False, until=2_000_000_000.0)
    put(tmp_path, second.pem, second.key_pem, stem="tls")
    certificate.renew()
    assert shown(certificate) == der(second)
    assert certificate.not_after == 2_000_000_000.0
    assert str(certificate) == f"<Certificate in {tmp_path}, until 2000000000>"


def test_a_bad_pair_changes_nothing(tmp_path: Path) -> None:
    """Whatever is bad about it: half of it is new, it is cut off, empty, away, no PEM, or locked."""
    first = pair(tmp_path)
    certificate = Certificate(tmp_path)
    other, until = made("other", ca=False), certificate.not_after
    bad = {
        "the key does not belong to the certificate": (other.pem, first.key_pem),
        "no certificate with its key": (other.pem[:100], other.key_pem),
        "no certificate with its key (": (b"", b""),
        "; put a certificate for the webhook's Service into tls.crt, and its key into tls.key": (b"\xff", b"\0"),
        "tls.key has a password": (other.pem, key_pem(other.key, b"secret")),
    }
    for sentence, (chain, key) in bad.items():
        put(tmp_path, chain, key, stem="tls")
        with pytest.raises(BadCertificate) as raised:
            certificate.renew()
        assert sentence in str(raised.value)
        assert shown(certificate) == der(first)
    (tmp_path / "tls.key").unlink()
    with pytest.raises(BadCertificate, match="No such file"):
        certificate.renew()
    assert (shown(certificate), certificate.not_after) == (der(first), until)


def test_a_start_needs_a_good_pair(tmp_path: Path) -> None:
    """There is nothing else to show."""
    with pytest.raises(BadCertificate) as raised:
        Certificate(tmp_path)
    assert raised.value.filename == str(tmp_path)


def test_what_is_behind_the_certificate_is_shown_with_it(tmp_path: Path) -> None:
    """The end that is told is the leaf's, and the chain is a client's to follow."""
    authority = made("authority")
    leaf = made(NAME, ca=False, issuer=authority, until=1_900_000_000.0)
    put(tmp_path, leaf.pem + authority.pem, leaf.key_pem, stem="tls")
    certificate = Certificate(tmp_path)
    assert certificate.not_after == 1_900_000_000.0
    assert shown(certificate) == der(leaf)
    assert files(tmp_path) == (tmp_path / "tls.crt", tmp_path / "tls.key")
