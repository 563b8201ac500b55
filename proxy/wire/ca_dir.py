"""Owns the files of ``ca_dir``: how they come to be, and what is wrong with those that are there. Called by ca.py.

    ca.key, ca.crt      generated at the first start, or given
    tls.key, tls.crt    given, as a Kubernetes secret of this type has them; a ca.crt beside them is trusted, too

A generated ca.key holds the key and its certificate, and ca.crt is a copy for people. So one link(2) puts both there,
whole and on the disk, or fails since another process was first: whoever comes later reads what the first one made, and
a crash leaves either all of it or nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_log = logging.getLogger("backstay.tls")

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_LARGEST: Final = 1 << 20  # bytes that are read of a file: a chain takes a few thousand
_OTHERS: Final = 0o007
_GROUP: Final = 0o070


class AuthorityError(OSError):
    """There is no authority that could sign for hosts; ``filename`` says which file, ``strerror`` what to do."""


class Files(NamedTuple):
    """What was found, in PEM. ``certificates`` begins with that of the key."""

    key_path: Path
    key: bytes
    certificates_path: Path
    certificates: bytes
    trusted: bytes = b""  # besides those: what signed them


def find(ca_dir: Path, make: Callable[[], bytes]) -> Files:
    """The files of an authority. Where there are none, ``make`` gives key and certificate of a new one, in PEM.

    Raises AuthorityError: a file is missing or cannot be read, or others than Backstay can read the key.
    """
    found = _given(ca_dir)
    if found is None:
        _generate(ca_dir, make)
        found = _given(ca_dir)
    if found is None:
        raise _wrong(ca_dir, errno.ENOENT, "what was generated is gone again: let nobody else write there")
    return found


def _given(ca_dir: Path) -> Files | None:
    """None where there is nothing yet."""
    certificates_path, signer_path = ca_dir / "ca.crt", ca_dir / "tls.crt"
    certificates, signer = _read(certificates_path), _read(signer_path)
    key_path = ca_dir / "ca.key"
    if (key := _read_key(key_path)) is not None:
        if certificates is not None:
            return Files(key_path, key, certificates_path, certificates)
        if _BEGIN not in key:
            raise _wrong(certificates_path, errno.ENOENT, "the certificate of ca.key is missing: put it there")
        _copy(certificates_path, key)
        return Files(key_path, key, key_path, key)
    key_path = ca_dir / "tls.key"
    if (key := _read_key(key_path)) is not None:
        if signer is None:
            raise _wrong(signer_path, errno.ENOENT, "the certificate of tls.key is missing: put it there")
        return Files(key_path, key, signer_path, signer, certificates or b"")
    if certificates is not None or signer is not None:
        missing = ca_dir / ("ca.key" if signer is None else "tls.key")
        remedy = "put it beside its certificate, or empty the directory to have a new authority made"
        raise _wrong(missing, errno.ENOENT, f"the key is missing: {remedy}")
    return None


# --- reading ------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes | None:
    """None if there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_key(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            _protect(path, file.fileno())
            return file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except AuthorityError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from None


def _protect(path: Path, descriptor: int) -> None:
    """See to it that nobody but Backstay and root reads the key. Raises AuthorityError where they may have done so."""
    found = os.fstat(descriptor)
    mode, user = stat.S_IMODE(found.st_mode), os.geteuid()
    if (problem := exposure(mode, found.st_uid, user)) is not None:
        raise _wrong(path, errno.EPERM, problem)
    if mode & _GROUP and found.st_uid == user:
        try:
            os.fchmod(descriptor, mode & ~_GROUP)
        except OSError:
            if user != 0:
                raise _wrong(path, errno.EPERM, f"its group can read the key (mode {mode:04o}): chmod 600") from None
            return
        # A volume with fsGroup gives every file to the group at each mount.
        _log.warning("the key of the authority was open to its group, and is not any more", extra={"file": str(path)})


def exposure(mode: int, owner: int, user: int) -> str | None:
    """What is wrong with a key of this mode and owner for a process of ``user``; None if it may be used.

    The group may read what is root's: a secret of Kubernetes is root's, and only fsGroup makes it readable at all to
    others than root. That group has the containers that mount the secret, of which the agent's must not be one.
    """
    if owner not in {0, user}:
        return f"the key belongs to user {owner}, who can read it: chown it to user {user}, or to root"
    if mode & _OTHERS:
        return (
            f"every user can read the key (mode {mode:04o}), and who holds it can pass for any host: chmod 600; "
            "of a Kubernetes secret: defaultMode: 0400, which becomes 0440 with fsGroup"
        )
    return None


def _unreadable(path: Path, error: OSError) -> AuthorityError:
    what = f"{error.strerror}: Backstay (user {os.geteuid()}) must be able to read it"
    return _wrong(path, error.errno or errno.EIO, what)


def _wrong(path: Path, number: int, what: str) -> AuthorityError:
    return AuthorityError(number, what, str(path))


# --- writing ------------------------------------------------------------------------------------------------


def _generate(ca_dir: Path, make: Callable[[], bytes]) -> None:
    """Put what ``make`` gives into ca.key, unless another process has been first."""
    try:
        ca_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = written(ca_dir, "ca.key", make(), 0o600)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(new, ca_dir / "ca.key")
        finally:
            new.unlink()
        sync(ca_dir)
    except OSError as error:
        what = f"{error.strerror}: a new authority cannot be kept here; let Backstay (user {os.geteuid()}) write there"
        raise _wrong(ca_dir, error.errno or errno.EIO, f"{what}, or put ca.key and ca.crt there") from None


def _copy(path: Path, generated: bytes) -> None:
    """ca.crt, from the end of a generated ca.key: for people, who would not look for it there."""
    with contextlib.suppress(OSError):  # needless, so that it may fail
        replace(path, generated[generated.index(_BEGIN) :], 0o644)


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` at ``path``: readers, now and after a crash, find the old file or the new one, never a part.

    Raises OSError.
    """
    new = written(path.parent, path.name, data, mode)
    try:
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def written(directory: Path, name: str, data: bytes, mode: int) -> Path:
    """A new file beside ``name`` that holds ``data``, on the disk. Raises OSError, and leaves nothing then."""
    path = directory / f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    return path


def sync(directory: Path) -> None:
    """What was put into ``directory`` is there after a crash, too. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
