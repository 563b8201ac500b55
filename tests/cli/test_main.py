"""proxy/__main__.py: ``python -m proxy`` is the command."""

from __future__ import annotations

import subprocess
import sys


def test_python_m_proxy_is_backstay() -> None:
    """Both start the same program."""
    done = subprocess.run([sys.executable, "-m", "proxy", "version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("backstay ")
