"""The token that opens the admin API: the configured one, or one made at start.

Called by ``app`` before the admin listener starts. The agent shares the pod's loopback, so that an admin API without a
token would be the agent's to use; that is why there is always one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

FILE: Final = "admin-token"
_BYTES: Final = 32  # 256 bits: beyond guessing, so that no attempt needs to be counted


class TokenError(OSError):
    """There is no token that the admin API could be locked with; the text says what to do."""


def ensure_token(configured: str | None, directory: Path) -> tuple[str, Path | None]:
    """The token, and the file that it was written to if it is not ``configured``.

    A new token is made at each start. Raises TokenError if the configured one is empty or the file cannot be written.
    """
    if configured is None:
        token = secrets.token_urlsafe(_BYTES)
        return token, _written(token, directory)
    if not configured.strip():
        raise TokenError("admin_token is empty; give it a value, or leave the key out to have one made")
    return configured, None


def _written(token: str, directory: Path) -> Path:
    path = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, token)
    except OSError as error:
        raise TokenError(
            f"cannot write the admin token to {path}: {error.strerror}; "
            "set admin_token, or let Backstay write to that directory"
        ) from error
    return path


def _replace(path: Path, token: str) -> None:
    """Write the file whole, readable by this user only, from its first moment on.

    A new name that must not exist (O_EXCL) and a rename: a file or link that someone else has put at ``path`` is
    replaced, never written through, and nobody can hold it open already.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
