"""Owns what has to lie in a pod's volumes before its containers start. Called by commands.py (``backstay prepare``).

It runs in an init container of Backstay's image. Init containers of the *agent's* images come after it, and put the
roots that those images trust into ``trust_dir/roots`` (wire/trust.py). They run as whoever the agent is, in images that
may have no shell: so the folder is open to all of them, and a static busybox comes with it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from proxy.wire.ca_dir import replace
from proxy.wire.trust_roots import ROOTS

_STICKY: Final = 0o1777  # everybody may add a file, and nobody replace another's


def open_roots(trust_dir: Path) -> Path:
    """Make the folder for the roots of the agent's images, as it is named; raises OSError."""
    folder = trust_dir / ROOTS
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o7777 != _STICKY:
            folder.chmod(_STICKY)
    except OSError as error:
        what = f"{error.strerror}: let this user ({os.geteuid()}) write to tls_intercept.trust_dir"
        raise OSError(error.errno, what, str(folder)) from None
    return folder


def copy_tools(busybox: Path, folder: Path) -> Path:
    """Put ``busybox`` there, for everybody to run, as it is named; raises OSError."""
    try:
        data = busybox.read_bytes()
    except OSError as error:
        what = f"{error.strerror}: Backstay's image has a static busybox there; elsewhere, name one with --busybox FILE"
        raise OSError(error.errno, what, str(busybox)) from None
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace(folder / busybox.name, data, 0o755)
    except OSError as error:
        what = f"{error.strerror}: let this user ({os.geteuid()}) write there, or name another folder"
        raise OSError(error.errno, what, str(folder)) from None
    return folder / busybox.name
