"""Tests of ``backstay prepare``: what lies in a pod's volumes before its containers start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.agent.prepare import copy_tools, open_roots
from proxy.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "backstay.yaml"
    dirs = f"{{ca_dir: {tmp_path}/ca, trust_dir: {tmp_path}/trust}}"
    file.write_text(f"version: 1\ntls_intercept: {dirs}\napis:\n  a: {{url: https://a.example, mount: /a}}\n")
    return file


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    file = tmp_path / "lib" / "busybox"
    file.parent.mkdir()
    file.write_bytes(b"#!/bin/true\n")
    return file


def test_all_that_it_does(config: Path, busybox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that every user may add to, a program that every user may run, and the shims; twice is once."""
    arguments = [str(config), "--tools", f"{tmp_path}/tools", "--shims", f"{tmp_path}/trust/shims"]
    for _ in range(2):
        old = os.umask(0o077)
        try:
            assert main(["prepare", *arguments, "--busybox", str(busybox)]) == 0
        finally:
            os.umask(old)
    assert (tmp_path / "trust" / "roots").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "tools" / "busybox").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "tools" / "busybox").read_bytes() == busybox.read_bytes()
    assert sorted(path.name for path in (tmp_path / "trust/shims").iterdir()) == ["backstay.cjs", "sitecustomize.py"]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"roots: {tmp_path}/trust/roots",
        f"tools: {tmp_path}/tools/busybox",
        f"shims: {tmp_path}/trust/shims",
    ]


def test_without_interception_there_is_nothing_to_trust(tmp_path: Path) -> None:
    """No folder for roots is made; the rest can still be asked for."""
    file = tmp_path / "backstay.yaml"
    file.write_text("version: 1\napis:\n  a: {url: https://a.example, mount: /a}\n")
    assert main(["prepare", str(file)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["backstay.yaml"]


def test_an_image_without_busybox(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names what is missing, and the way out."""
    missing = tmp_path / "none"
    assert main(["prepare", str(config), "--tools", f"{tmp_path}/tools", "--busybox", str(missing)]) == 1
    assert f"{missing}: No such file or directory: " in (said := capsys.readouterr().err)
    assert "--busybox FILE" in said


def test_nowhere_to_put_it(busybox: Path, tmp_path: Path) -> None:
    """The error names the folder, and who has to be let in."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=rf"let this user \({os.geteuid()}\) write to tls_intercept\.trust_dir"):
        open_roots(tmp_path / "file")
    with pytest.raises(OSError, match="or name another folder"):
        copy_tools(busybox, tmp_path / "file")
