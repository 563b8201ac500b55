"""Owns what agents are given to trust: roots, and the certificates of our authority. Called by ca.py.

``SSL_CERT_FILE`` and its like replace a client's roots, so that an agent needs both in one file. The roots are those of
the agent's own images, where they were brought (trust_roots.py), else the system's. Nothing here has ever seen a key.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import certifi

from proxy.wire.ca_dir import AuthorityError, replace
from proxy.wire.trust_forms import JAVA, WGET, truststore, wgetrc
from proxy.wire.trust_roots import brought

CERTIFICATE: Final = "ca.crt"
BUNDLE: Final = "ca-bundle.crt"

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")  # how OpenSSL names the files of a folder of roots


def publish(trust_dir: Path, ours: Iterable[bytes]) -> None:
    """Put ``ours`` (PEM) into ca.crt, and the roots before them into ca-bundle.crt; see Authority.publish.

    The same for Java and wget besides (trust_forms.py).
    """
    own = [_tidy(pem) for pem in ours]
    try:
        trust_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        roots = dict.fromkeys([*_roots(trust_dir), *own])
        bundle = b"".join(roots)
        if not (_is_right(trust_dir / BUNDLE, bundle) and (trust_dir / JAVA).is_file()):
            # It is not the same each time: the bundle stands for it, and so is written after it.
            replace(trust_dir / JAVA, truststore(roots), 0o644)
        _put(trust_dir / BUNDLE, bundle)
        _put(trust_dir / CERTIFICATE, b"".join(own))
        _put(trust_dir / WGET, wgetrc(trust_dir / BUNDLE))
    except OSError as error:
        what = f"{error.strerror}: agents cannot be told whom to trust; let Backstay (user {os.geteuid()}) write there"
        raise AuthorityError(error.errno or errno.EIO, what, str(trust_dir)) from None


def _put(path: Path, data: bytes) -> None:
    """A file that is right is left alone: agents may watch it."""
    if not _is_right(path, data):
        replace(path, data, 0o644)


def _is_right(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data and path.stat().st_mode & 0o777 == 0o644
    except FileNotFoundError:
        return False


def _roots(trust_dir: Path) -> list[bytes]:
    """Of the agent's images, else of the system. Each is one block of PEM."""
    return [root for data in brought(trust_dir) for root in _certificates(data)] or _system(trust_dir)


def _system(trust_dir: Path) -> list[bytes]:
    """Those that OpenSSL trusts on this system (its variables apply), else certifi's."""
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else []
    folder = Path(paths.capath) if paths.capath else None
    if folder is not None:
        files += sorted(path for path in folder.iterdir() if _HASHED.fullmatch(path.name))
    roots = [root for file in files for root in _of(file, trust_dir)]
    return roots or list(_of(Path(certifi.where()), trust_dir))


def _of(file: Path, trust_dir: Path) -> Iterator[bytes]:
    """The certificates in a file, unless it is one of our own: what an earlier authority left there must not stay."""
    if file.resolve().parent == trust_dir.resolve():
        return
    try:
        data = file.read_bytes()
    except OSError:  # a root that this user may not read is not trusted by this process either
        return
    yield from _certificates(data)


def _certificates(data: bytes) -> Iterator[bytes]:
    """Those that a client can read, each in one form."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for block in _BLOCK.findall(data):
        try:
            tidy = _tidy(block)
            probe.load_verify_locations(cadata=tidy.decode())
        except (ValueError, ssl.SSLError):  # some clients would refuse the whole bundle for the sake of one bad block
            continue
        yield tidy


def _tidy(block: bytes) -> bytes:
    """In one form whatever the line ends, so that no certificate is there twice. Raises ValueError."""
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(block.decode().strip())).encode()
