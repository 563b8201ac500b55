"""Tests of what agents are given to trust: the system's roots and ours, whole at every moment, and nothing else."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from proxy.wire.ca_dir import AuthorityError
from proxy.wire.trust import publish
from tests.support.authority import made

ROOT, OTHER, OURS = made("Root").pem, made("Other root").pem, made("Ours").pem


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system whose only root is ROOT; the file of roots."""
    roots = tmp_path / "system" / "roots.pem"
    roots.parent.mkdir()
    roots.write_bytes(ROOT)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return roots


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return tmp_path / "run" / "trust"


def bundle(trust: Path) -> bytes:
    return (trust / "ca-bundle.crt").read_bytes()


def test_what_is_published(trust: Path) -> None:
    """ca.crt has ours, the bundle the system's too; everybody can read them, whatever the umask."""
    old = os.umask(0o077)
    try:
        publish(trust, [OURS])
    finally:
        os.umask(old)
    assert sorted(path.name for path in trust.iterdir()) == ["ca-bundle.crt", "ca-bundle.p12", "ca.crt", "wgetrc"]
    assert (trust / "ca.crt").read_bytes() == OURS
    assert bundle(trust) == ROOT + OURS
    assert {path.stat().st_mode & 0o777 for path in trust.iterdir()} == {0o644}


def test_a_folder_of_roots(trust: Path, system: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian has one file for each, named by hash, and other things among them; none is taken twice."""
    folder = tmp_path / "certs"
    folder.mkdir()
    for name, data in (("0a775a30.0", OTHER), ("1001acf7.1", ROOT.replace(b"\n", b"\r\n")), ("README", OURS)):
        (folder / name).write_bytes(b"# a comment\n" + data)
    (folder / "deadbeef.0").symlink_to("gone")
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    publish(trust, [OURS])
    assert bundle(trust) == ROOT + OTHER + OURS


def test_a_system_without_roots(trust: Path, system: Path) -> None:
    """A slim image: certifi's roots are taken."""
    system.unlink()
    publish(trust, [OURS])
    assert bundle(trust).count(b"BEGIN") == Path(certifi.where()).read_bytes().count(b"BEGIN CERT") + 1
    assert ssl.create_default_context(cafile=trust / "ca-bundle.crt").cert_store_stats()["x509_ca"] > 50


def test_a_bad_block_among_the_roots(trust: Path, system: Path) -> None:
    """It would make some clients refuse the whole bundle: it is left out."""
    for bad in (b"AAAA", b"A"):
        with system.open("ab") as file:
            file.write(b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % bad)
    publish(trust, [OURS])
    assert bundle(trust) == ROOT + OURS


def test_our_own_bundle_as_the_systems(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set for every container of a pod: what an earlier authority left must not stay trusted."""
    publish(trust, [OURS])
    monkeypatch.setenv("SSL_CERT_FILE", str(trust / "ca-bundle.crt"))
    publish(trust, [OTHER])
    assert OURS not in bundle(trust)
    assert bundle(trust).count(b"BEGIN") > 50  # certifi's
    assert bundle(trust).endswith(OTHER)


def test_what_is_right_is_left_alone(trust: Path) -> None:
    """Agents may watch the files; one that is wrong, in what it says or who may read it, is replaced."""
    publish(trust, [OURS])
    before = {path: path.stat().st_ino for path in trust.iterdir()}
    publish(trust, [OURS])
    assert {path: path.stat().st_ino for path in trust.iterdir()} == before
    (trust / "ca.crt").chmod(0o600)
    (trust / "ca-bundle.crt").write_bytes(b"half")
    publish(trust, [OURS])
    assert (trust / "ca.crt").stat().st_mode & 0o777 == 0o644
    assert bundle(trust) == ROOT + OURS


def test_a_reader_never_sees_a_part(trust: Path) -> None:
    """While the bundle changes again and again, each look at it finds one version, whole."""
    publish(trust, [OURS])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(bundle(trust))

    reader = threading.Thread(target=read)
    reader.start()
    for ours in [OTHER, OURS] * 20:
        publish(trust, [ours])
    done.set()
    reader.join()
    assert set(seen) <= {ROOT + OURS, ROOT + OTHER}


def test_another_file_system(monkeypatch: pytest.MonkeyPatch, trust: Path) -> None:
    """A new file stands beside the one that it replaces, so that a rename is enough wherever that is mounted."""
    moves: list[tuple[Path, Path]] = []
    real = os.rename

    def watched(source: Path, target: Path) -> None:
        moves.append((Path(source).parent, Path(target).parent))
        real(source, target)

    monkeypatch.setattr(os, "rename", watched)
    monkeypatch.setattr(os, "replace", watched)
    publish(trust, [OURS])
    assert set(moves) == {(trust, trust)}


def no_directory(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "file").write_bytes(b"")
    yield tmp_path / "file"
    yield tmp_path / "file" / "trust"


def test_nowhere_to_put_it(tmp_path: Path) -> None:
    """The error names the directory, and what agents miss."""
    for trust in no_directory(tmp_path):
        with pytest.raises(AuthorityError, match=r"agents cannot be told whom to trust; let Backstay .* write") as no:
            publish(trust, [OURS])
        assert no.value.filename == str(trust)


def test_a_crash_between_two_forms(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java's is written first: as long as the bundle is not there, the next start does both again."""
    publish(trust, [OURS])
    real = os.replace

    def crash(source: Path, target: Path) -> None:
        if target.name == "ca-bundle.crt":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(trust, [OTHER])
    publish(trust, [OTHER])
    assert bundle(trust) == ROOT + OTHER
    assert ssl.PEM_cert_to_DER_cert(OTHER.decode()) in (trust / "ca-bundle.p12").read_bytes()
