"""Which files a path stands for.

Called by ``load.py`` to read them and by ``reload.py`` to watch them.
"""

from __future__ import annotations

from pathlib import Path


def listing(folder: Path) -> list[Path]:
    """The YAML files of a folder by name; symlinks are followed, hidden entries (``..data`` of a ConfigMap) are not."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".") and path.is_file()
    )
