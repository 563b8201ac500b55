"""Tests of what the agent's images bring to be trusted: it replaces the system's roots, and leads nowhere else."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.wire.trust import publish
from proxy.wire.trust_roots import brought
from tests.support.authority import made

SYSTEM, CORPORATE, OTHER, OURS = (made(name).pem for name in ("System", "Corporate", "Other", "Ours"))


@pytest.fixture(autouse=True)
def _system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system whose only root is SYSTEM."""
    (tmp_path / "system.pem").write_bytes(SYSTEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    (tmp_path / "trust" / "roots").mkdir(parents=True)
    return tmp_path / "trust"


def bundle(trust: Path) -> bytes:
    publish(trust, [OURS])
    return (trust / "ca-bundle.crt").read_bytes()


def test_they_replace_the_systems_in_every_form(trust: Path) -> None:
    """What the images trust, in the order of the files, each once; then ours. Java's store has the same."""
    (trust / "roots" / "1.pem").write_bytes(OTHER + CORPORATE)
    (trust / "roots" / "0.pem").write_bytes(b"# of image 0\r\n" + CORPORATE.replace(b"\n", b"\r\n"))
    (trust / "roots" / "README").write_bytes(SYSTEM)
    assert bundle(trust) == CORPORATE + OTHER + OURS
    java = (trust / "ca-bundle.p12").read_bytes()
    assert [ssl.PEM_cert_to_DER_cert(pem.decode()) in java for pem in (CORPORATE, OTHER, OURS, SYSTEM)] == [
        True,
        True,
        True,
        False,
    ]


def test_junk_among_them_is_left_out(trust: Path) -> None:
    """A block that is no certificate would make some clients refuse the whole bundle."""
    bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (trust / "roots" / "0.pem").write_bytes(b"\x00\xff" + bad + CORPORATE + b"-----BEGIN CERTIFICATE-----\nAAA")
    assert bundle(trust) == CORPORATE + OURS


def nothing(folder: Path) -> None:
    folder.rmdir()


def no_certificate(folder: Path) -> None:
    (folder / "0.pem").write_bytes(b"cat: /etc/ssl/certs/ca-certificates.crt: No such file or directory")


def too_much(folder: Path) -> None:
    (folder / "0.pem").write_bytes(CORPORATE + b"\n" * (4 << 20))


def a_link(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere.pem"
    elsewhere.write_bytes(CORPORATE)
    (folder / "0.pem").symlink_to(elsewhere)


def a_link_for_the_folder(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere"
    folder.rename(elsewhere)
    (elsewhere / "0.pem").write_bytes(CORPORATE)
    folder.symlink_to(elsewhere)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "0.pem")


def a_folder(folder: Path) -> None:
    (folder / "0.pem").mkdir()


def a_file_for_the_folder(folder: Path) -> None:
    folder.rmdir()
    folder.write_bytes(CORPORATE)


@pytest.mark.parametrize(
    "put",
    [nothing, no_certificate, too_much, a_link, a_link_for_the_folder, a_pipe, a_folder, a_file_for_the_folder],
    ids=lambda put: put.__name__,
)
def test_where_none_can_be_had_the_systems_stay(trust: Path, put: Callable[[Path], None]) -> None:
    """An agent is never left without roots, and no file of others decides what is read."""
    put(trust / "roots")
    assert bundle(trust) == SYSTEM + OURS


def test_a_file_that_is_too_large_does_not_take_the_others_with_it(
    trust: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sum is bounded; what is left out is named, and why."""
    (trust / "roots" / "0.pem").write_bytes(CORPORATE)
    (trust / "roots" / "1.pem").write_bytes(OTHER + b"\n" * ((4 << 20) - len(CORPORATE) - len(OTHER) + 1))
    (trust / "roots" / "2.pem").write_bytes(OURS)
    assert list(brought(trust)) == [CORPORATE, OURS]
    assert [(record.file, record.why) for record in caplog.records] == [  # type: ignore[attr-defined]
        (str(trust / "roots" / "1.pem"), "with those before it, it is larger than 4 MiB")
    ]


def test_roots_that_come_later_are_taken_at_the_next_start(trust: Path) -> None:
    """And those of an image that is gone are trusted no more."""
    (trust / "roots" / "0.pem").write_bytes(CORPORATE)
    assert bundle(trust) == CORPORATE + OURS
    (trust / "roots" / "0.pem").write_bytes(OTHER)
    assert bundle(trust) == OTHER + OURS
