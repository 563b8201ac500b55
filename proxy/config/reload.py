"""Notices that the files of a configuration have changed.

Called by ``app``, which reloads then. It polls: inotify sees neither the swap of a ConfigMap's ``..data`` symlink
reliably nor network file systems. What counts is the content, so that touching a file reloads nothing.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from proxy.config.files import listing

SETTLE: Final = 0.1  # seconds without a further change before a change is believed: editors write in pieces
_NOTHING: Final[Mapping[Path, bytes]] = MappingProxyType({})
_PATIENCE: Final = 50  # of those, before a file that never rests is read as it is


class Sleeper(Protocol):
    """What a watcher needs of a Clock."""

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""


class _Seen(NamedTuple):
    stamp: tuple[int, ...]
    digest: bytes
    proven: bool  # the stamp has been the same twice: within one tick of its clock a file can change unseen


class Fingerprints:
    """Digests of what paths hold now; a file whose stat has not changed is not read again."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def of(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """One digest for each path: a file's content, or the names and contents of a folder's YAML files."""
        return {path: self._path(path) for path in paths}

    def _path(self, path: Path) -> bytes:
        try:
            if not path.is_dir():
                return self._file(path)
            files = listing(path)
        except OSError:
            return b"unreadable"
        parts = (str(file).encode("utf-8", "surrogateescape") + b"\0" + self._file(file) for file in files)
        return hashlib.sha256(b"".join(parts)).digest()

    def _file(self, path: Path) -> bytes:
        try:
            status = path.stat()  # follows symlinks
            if not stat.S_ISREG(status.st_mode):
                return b"no regular file"
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            seen = self._seen.get(path)
            if seen is None or seen.stamp != stamp or not seen.proven:
                proven = seen is not None and seen.stamp == stamp
                seen = self._seen[path] = _Seen(stamp, hashlib.sha256(path.read_bytes()).digest(), proven)
        except OSError:
            self._seen.pop(path, None)
            return b"unreadable"
        return seen.digest


async def watch(
    clock: Sleeper,
    paths_provider: Callable[[], Iterable[Path]],
    interval: float,
    on_change: Callable[[], Awaitable[object]],
    before: Mapping[Path, bytes] = _NOTHING,
) -> None:
    """Call ``on_change`` whenever what ``paths_provider`` names has changed and come to rest; never returns.

    Args:
        clock: for waiting.
        paths_provider: asked at each poll, since a reload may name other files.
        interval: seconds between two polls.
        on_change: awaited; what changes meanwhile is noticed at the next poll.
        before: what paths held when they were last read, as far as that was before this was called.
    """
    fingerprints = Fingerprints()
    known = {**fingerprints.of(paths_provider()), **before}
    while True:
        await clock.sleep(interval)
        found = fingerprints.of(paths_provider())
        if _differs(known, found):
            known = await _rest(clock, fingerprints, found)
            await on_change()
            for path, digest in fingerprints.of(paths_provider()).items():
                known.setdefault(path, digest)  # files that the reload has brought in
        else:
            known = {**known, **found}


async def _rest(clock: Sleeper, fingerprints: Fingerprints, found: dict[Path, bytes]) -> dict[Path, bytes]:
    """What the paths hold once they have stopped changing."""
    for _ in range(_PATIENCE):
        await clock.sleep(SETTLE)
        later = fingerprints.of(found)
        if later == found:
            break
        found = later
    return found


def _differs(known: dict[Path, bytes], found: dict[Path, bytes]) -> bool:
    return any(known.get(path, digest) != digest for path, digest in found.items())
