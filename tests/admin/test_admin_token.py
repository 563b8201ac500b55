"""There is always a token, and nobody else can read it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.admin.token import FILE, TokenError, ensure_token


def test_the_configured_token_is_used(tmp_path: Path) -> None:
    """No file is made when the configuration has a token."""
    assert ensure_token("secret", tmp_path) == ("secret", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("configured", ["", " \n"])
def test_an_empty_token_is_refused(tmp_path: Path, configured: str) -> None:
    """A secret that was mounted empty must not open the door."""
    with pytest.raises(TokenError, match="admin_token is empty; give it a value"):
        ensure_token(configured, tmp_path)


def test_a_token_is_made(tmp_path: Path) -> None:
    """Without one, a long token is written to a file that only this user can read, and to no other."""
    token, path = ensure_token(None, tmp_path / "run")
    assert path == tmp_path / "run" / FILE
    assert path.read_text() == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (len(token) >= 43, list(path.parent.iterdir())) == (True, [path])


def test_each_start_makes_another(tmp_path: Path) -> None:
    """A token does not outlive its process."""
    first, path = ensure_token(None, tmp_path)
    second, _ = ensure_token(None, tmp_path)
    assert path is not None
    assert first != second
    assert path.read_text() == second + "\n"


def test_a_planted_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """Neither a file that others can read, nor a link to one, gets the token."""
    planted = tmp_path / "planted"
    planted.write_text("mine")
    planted.chmod(0o666)
    (tmp_path / FILE).symlink_to(planted)
    _, path = ensure_token(None, tmp_path)
    assert path is not None
    assert planted.read_text() == "mine"
    assert (path.is_symlink(), stat.S_IMODE(path.lstat().st_mode)) == (False, 0o600)


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """The error names the file and both ways out."""
    (tmp_path / "file").touch()
    with pytest.raises(TokenError, match=r"cannot write the admin token to .*; set admin_token, or let Backstay write"):
        ensure_token(None, tmp_path / "file")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    """If the file cannot take its place, the token that was written is removed."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(TokenError, match="cannot write the admin token"):
        ensure_token(None, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [FILE]
