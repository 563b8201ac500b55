"""Tests of the files of an authority: made once, whole or not at all, and open to nobody else."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.wire.ca_dir import AuthorityError, Files, exposure, find, replace
from tests.support.authority import put

KEY = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"


def make() -> bytes:
    return KEY + CERTIFICATE


def never() -> bytes:
    raise AssertionError("an authority that is there must not be made again")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in paths]


def refusal(directory: Path) -> str:
    with pytest.raises(AuthorityError) as caught:
        find(directory, never)
    return f"{Path(caught.value.filename).name}: {caught.value.strerror}"


# --- generated ----------------------------------------------------------------------------------------------


def test_the_first_start_makes_one(tmp_path: Path) -> None:
    """Directory and key are for this user alone, ca.crt is for everybody, and the next start finds both."""
    directory = tmp_path / "lib" / "ca"
    first = find(directory, make)
    assert first.key == KEY + CERTIFICATE
    assert names(directory) == ["ca.crt", "ca.key"]
    assert modes(directory, directory / "ca.key", directory / "ca.crt") == [0o700, 0o600, 0o644]
    assert find(directory, never) == Files(directory / "ca.key", first.key, directory / "ca.crt", CERTIFICATE)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """All of them make one before any has put its own there; what one of them made is everybody's."""
    crowd = 8
    barrier = threading.Barrier(crowd)

    def start(number: int) -> Files:
        def mine() -> bytes:
            barrier.wait()
            return b"%d\n" % number + make()

        return find(tmp_path, mine)

    with ThreadPoolExecutor(crowd) as pool:
        found = list(pool.map(start, range(crowd)))
    assert len({files.key for files in found}) == 1
    assert names(tmp_path) == ["ca.crt", "ca.key"]


def test_a_crash_while_it_is_made(tmp_path: Path) -> None:
    """Before the key is whole there is nothing; behind it the copy is missing, and made by the next start."""

    def crash() -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        find(tmp_path, crash)
    assert names(tmp_path) == []
    (tmp_path / ".ca.key.0123456789abcdef").write_bytes(KEY[:20])
    first = find(tmp_path, make)
    (tmp_path / "ca.crt").unlink()
    assert find(tmp_path, never).key == first.key
    assert (tmp_path / "ca.crt").read_bytes() == CERTIFICATE


def test_a_directory_that_has_become_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already is enough."""
    find(tmp_path, make)
    (tmp_path / "ca.crt").unlink()
    refuse_to_write(monkeypatch)
    assert find(tmp_path, never).certificates == KEY + CERTIFICATE
    assert names(tmp_path) == ["ca.key"]


def test_nowhere_to_keep_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the directory, and both ways out."""
    refuse_to_write(monkeypatch)
    with pytest.raises(AuthorityError, match=r"Read-only.*let Backstay .* write there, or put ca.key and ca.crt") as no:
        find(tmp_path, make)
    assert (no.value.filename, no.value.errno) == (str(tmp_path), errno.EROFS)


def test_what_is_taken_away_at_once(tmp_path: Path) -> None:
    """A directory that keeps nothing is an error, not a loop."""
    kept = tmp_path / "kept"
    kept.mkdir()

    def make_and_spoil() -> bytes:
        (kept / "ca.key").symlink_to(tmp_path / "nowhere")  # there for link(2), and not for a reader
        return make()

    with pytest.raises(AuthorityError, match="gone again"):
        find(kept, make_and_spoil)


def refuse_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a read-only mount does; root, as whom tests may run, is stopped by no mode."""
    real = os.open

    def open_(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_)


# --- given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["ca", "tls"])
def test_a_given_one_is_left_as_it_is(tmp_path: Path, stem: str) -> None:
    """Nothing is written beside files that an operator, or a secret of Kubernetes, has put there."""
    put(tmp_path, CERTIFICATE, KEY, stem)
    found = find(tmp_path, never)
    assert (found.key, found.certificates, found.trusted) == (KEY, CERTIFICATE, b"")
    assert names(tmp_path) == [f"{stem}.crt", f"{stem}.key"]


def test_a_secret_that_names_its_issuer(tmp_path: Path) -> None:
    """cert-manager writes tls.crt, tls.key, and the root that signed them as ca.crt."""
    put(tmp_path, CERTIFICATE, KEY, "tls")
    (tmp_path / "ca.crt").write_bytes(b"root")
    assert find(tmp_path, never).trusted == b"root"


def test_links_are_followed(tmp_path: Path) -> None:
    """A mounted secret consists of them."""
    put(tmp_path / "..data", CERTIFICATE, KEY, "tls")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    assert find(tmp_path, never).key == KEY


def test_a_part_is_missing(tmp_path: Path) -> None:
    """Nothing is made up beside half an authority: the other half may be on its way."""
    for there, missing in (("ca.key", "ca.crt"), ("tls.key", "tls.crt"), ("ca.crt", "ca.key"), ("tls.crt", "tls.key")):
        directory = tmp_path / there
        directory.mkdir()
        (directory / there).write_bytes(KEY if there.endswith("key") else CERTIFICATE)
        (directory / there).chmod(0o600)
        assert f"{missing}: " in refusal(directory)
        assert "missing" in refusal(directory)


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """The error names it, and who has to be able to read it."""
    (tmp_path / name).mkdir()
    assert refusal(tmp_path).startswith(f"{name}: Is a directory: Backstay (user {os.geteuid()}) must be able to")


# --- who may read the key -----------------------------------------------------------------------------------

WHO = [
    (0o600, 7, 7, None),
    (0o400, 0, 7, None),
    (0o440, 0, 7, None),  # a secret with fsGroup
    (0o660, 7, 7, None),  # a volume with fsGroup: it is closed then, see below
    (0o644, 0, 7, "every user can read"),  # a secret by default
    (0o604, 7, 7, "every user can read"),
    (0o601, 7, 7, "every user can read"),
    (0o600, 8, 7, "belongs to user 8"),
    (0o600, 8, 0, "belongs to user 8"),
]


@pytest.mark.parametrize(("mode", "owner", "user", "problem"), WHO)
def test_whose_the_key_has_to_be(mode: int, owner: int, user: int, problem: str | None) -> None:
    """Ours or root's, and closed to all others; root's may be open to a group."""
    found = exposure(mode, owner, user)
    assert found is None if problem is None else problem in (found or "")


def test_a_key_that_everybody_can_read(tmp_path: Path) -> None:
    """It is not used, and not closed in silence either: somebody may have read it."""
    put(tmp_path, CERTIFICATE, KEY, mode=0o644)
    assert "ca.key: every user can read the key (mode 0644)" in refusal(tmp_path)
    assert modes(tmp_path / "ca.key") == [0o644]


def test_a_key_of_ours_that_the_group_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A volume with fsGroup opens its files at each mount, so this must not stop a start: it is closed, and told."""
    put(tmp_path, CERTIFICATE, KEY, mode=0o660)
    assert find(tmp_path, never).key == KEY
    assert modes(tmp_path / "ca.key") == [0o600]
    assert "not any more" in caplog.text


@pytest.mark.parametrize(("user", "refused"), [(0, False), (7, True)])
def test_a_group_that_cannot_be_shut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, refused: bool
) -> None:
    """On a read-only mount, root's own key is used as it is (a secret with fsGroup); any other is refused."""
    path = put(tmp_path, CERTIFICATE, KEY, mode=0o640) / "ca.key"

    def no(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fchmod", no)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[4] = user
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    if refused:
        assert "its group can read the key (mode 0640): chmod 600" in refusal(tmp_path)
    else:
        assert find(tmp_path, never).key_path == path


# --- writing ------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_replaced(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    (tmp_path / "taken" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "taken", b"data", 0o644)
    assert names(tmp_path) == ["taken"]


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays, whole, and nothing half is left."""
    (tmp_path / "ca.crt").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(tmp_path / "ca.crt", b"new", 0o644)
    assert names(tmp_path) == ["ca.crt"]
    assert (tmp_path / "ca.crt").read_bytes() == b"old"
