"""Which files a folder stands for."""

from __future__ import annotations

from pathlib import Path

from proxy.config.files import listing


def test_yaml_files_by_name(tmp_path: Path) -> None:
    """Both suffixes; no hidden entries, folders or others; links are followed if they lead anywhere."""
    for name in ("b.yaml", "a.yml", ".c.yaml", "d.json", "e.yaml.bak"):
        (tmp_path / name).write_text("")
    (tmp_path / "f.yaml").mkdir()
    (tmp_path / "g.yaml").symlink_to(tmp_path / "d.json")
    (tmp_path / "h.yaml").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in listing(tmp_path)] == ["a.yml", "b.yaml", "g.yaml"]


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    """The loader makes a problem of it."""
    assert listing(tmp_path) == []
