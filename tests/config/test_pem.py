"""The files of ``tls``: what the wire could not use is found at check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from proxy.config.load import Problem, load

Complains = Callable[[str], list[Problem]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ca.pem, cert.pem with key.pem, another.pem (a key of something else), both.pem and so on."""
    authority = trustme.CA()
    mine, other = authority.issue_cert("agent.example"), authority.issue_cert("other.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    other.private_key_pem.write_to_path(tmp_path / "another.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    (tmp_path / "text.pem").write_text("s3cret")
    (tmp_path / "encrypted.pem").write_bytes(encrypted(mine.private_key_pem.bytes()))
    return tmp_path


def encrypted(key: bytes) -> bytes:
    passphrase = serialization.BestAvailableEncryption(b"s3cret")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, passphrase)
    return serialization.load_pem_private_key(key, None).private_bytes(*form)


def text(files: Path, **tls: str) -> str:
    keys = ", ".join(f"{key}: {files / name}" for key, name in tls.items())
    return f"version: 1\napis: {{x: {{url: https://x, tls: {{{keys}}}}}}}"


@pytest.mark.parametrize(
    "tls",
    [
        {"ca_file": "ca.pem"},
        {"client_cert": "both.pem"},
        {"ca_file": "ca.pem", "client_cert": "cert.pem", "client_key": "key.pem"},
    ],
)
def test_good_files_are_taken_and_watched(tls: dict[str, str], files: Path) -> None:
    """They are renewed under way, so that a change of one asks for a reload."""
    config = files / "backstay.yaml"
    config.write_text(text(files, **tls))
    assert {files / name for name in tls.values()} <= {*load([config], {}).watched}


@pytest.mark.parametrize(
    ("tls", "key", "message"),
    [
        ({"ca_file": "none.pem"}, "ca_file", "cannot be read; mount it there"),
        ({"ca_file": "."}, "ca_file", "holds no certificate; give a file in PEM"),
        ({"ca_file": "text.pem"}, "ca_file", "holds no certificate; give a file in PEM"),
        ({"client_cert": "cert.pem"}, "client_cert", "does not make a client certificate"),
        ({"client_cert": "cert.pem", "client_key": "another.pem"}, "client_key", "does not make a client certificate"),
        (
            {"client_cert": "cert.pem", "client_key": "encrypted.pem"},
            "client_key",
            "does not make a client certificate",
        ),
    ],
)
def test_a_file_that_is_of_no_use_is_a_mistake(
    tls: dict[str, str], key: str, message: str, files: Path, complains: Complains
) -> None:
    """At its line and now, and never a question for a passphrase; nothing of its contents is told."""
    (problem,) = complains(text(files, **tls))
    assert (problem.line, problem.path) == (2, f"apis.x.tls.{key}")
    assert message in str(problem)
    assert "s3cret" not in str(problem)


def test_a_missing_file_hides_no_other_that_is_missing(files: Path, complains: Complains) -> None:
    """Each has its own line."""
    problems = complains(text(files, ca_file="no.pem", client_cert="nor.pem", client_key="key.pem"))
    assert [problem.path for problem in problems] == ["apis.x.tls.ca_file", "apis.x.tls.client_cert"]
