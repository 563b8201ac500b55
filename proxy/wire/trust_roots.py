"""Owns the reading of ``trust_dir/roots``: what the agent's own images trust. Called by trust.py.

Init containers of those images put files of PEM there, so that an agent goes on trusting whom it trusted. Nobody here
has made these files: none leads out of the folder (no link is followed, and nothing but plain files is read), and
together they may not be larger than a few thousand roots are.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_log = logging.getLogger("backstay.tls")

ROOTS: Final = "roots"
_SUFFIX: Final = ".pem"
_LARGEST: Final = 4 << 20  # bytes of all files together: Mozilla's roots take 0.2 MiB
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not keep the process waiting


class _Unfit(Exception):
    """Why a file is left out."""


def brought(trust_dir: Path) -> Iterator[bytes]:
    """What is in the files of the folder, in the order of their names; nothing where there is no such folder."""
    folder = trust_dir / ROOTS
    try:
        directory = os.open(folder, _DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as error:
        _leave_out(folder, error.strerror or str(error))
        return
    try:
        yield from _read_all(directory, folder)
    finally:
        os.close(directory)


def _read_all(directory: int, folder: Path) -> Iterator[bytes]:
    left = _LARGEST
    for name in sorted(os.listdir(directory)):  # of a descriptor: the path may lead elsewhere by now
        if name.endswith(_SUFFIX):
            try:
                data = _read(directory, name, left)
            except (OSError, _Unfit) as error:
                _leave_out(folder / name, getattr(error, "strerror", None) or str(error))
            else:
                left -= len(data)
                yield data


def _read(directory: int, name: str, limit: int) -> bytes:
    """Raises OSError, among them for a link, and _Unfit."""
    with os.fdopen(os.open(name, _FILE, dir_fd=directory), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _Unfit("it is not a plain file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _Unfit(f"with those before it, it is larger than {_LARGEST >> 20} MiB")
    return data


def _leave_out(path: Path, why: str) -> None:
    _log.warning("roots of the agent's image are left out", extra={"file": str(path), "why": why})
