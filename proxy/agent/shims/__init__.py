"""Puts the shims where an agent's runtime finds them: ``sitecustomize.py`` for Python, ``backstay.cjs`` for Node.

Called by ``commands.py`` (``backstay env --shims DIR``). The files run inside the agent, not here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from proxy.wire.ca_dir import replace

PYTHON: Final = "sitecustomize.py"
NODE: Final = "backstay.cjs"


def write(folder: Path) -> None:
    """Copy the shims there, readable by everybody; a file that is the same already is left alone.

    Raises OSError: they cannot be kept there; its ``strerror`` says what to do.
    """
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in (PYTHON, NODE):
            data = Path(__file__).with_name(name).read_bytes()
            there = folder / name
            if not there.is_file() or there.read_bytes() != data:
                replace(there, data, 0o644)
    except OSError as error:
        what = f"{error.strerror}: the shims cannot be kept here; let this user ({os.geteuid()}) write there, or name "
        raise OSError(error.errno, f"{what}another folder", str(folder)) from None
