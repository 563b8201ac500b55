"""Tests of what Java and wget are given to trust."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import certifi
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from proxy.wire.trust_forms import truststore, wgetrc
from tests.support.authority import made

ROOT, OURS = made("Root").pem, made("Ours").pem


def held(store: bytes) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding

    return [extra.certificate.public_bytes(Encoding.PEM) for extra in load_pkcs12(store, None).additional_certs]


def test_a_truststore_has_every_root_and_no_password() -> None:
    """Java is given no password, and takes what it can read without one."""
    assert sorted(held(truststore([ROOT, OURS]))) == sorted([ROOT, OURS])


def test_the_roots_of_the_world_fit() -> None:
    """Some are older than the rules for certificates; nobody is warned, and none is lost."""
    roots = [
        ssl.DER_cert_to_PEM_cert(der).encode()
        for der in ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = truststore(roots)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(held(store)) == len(roots)


def test_what_is_no_certificate_is_left_out() -> None:
    """One bad root costs no other."""
    bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert held(truststore([bad, OURS])) == [OURS]


def test_wget_is_told_where_the_bundle_is() -> None:
    """In a file of its own, since it reads no variable for it."""
    assert wgetrc(Path("/trust/ca-bundle.crt")) == b"ca_certificate = /trust/ca-bundle.crt\n"
