"""Loading in a process of its own gives and raises the same."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from proxy.config.apart import answer, load_apart
from proxy.config.load import ConfigError, load


def test_it_loads_the_same(tmp_path: Path) -> None:
    """Paths and environment go there, settings come back."""
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\nadmin_token: ${env:TOKEN}\napis: {x: {url: http://x}}")
    env = {"TOKEN": "s3cret"}
    assert load_apart([file], env) == load([file], env)


@pytest.mark.parametrize("file", ["config/full.yaml", "config/captured.yaml"])
def test_every_setting_makes_the_way(file: str) -> None:
    """Those of all policies, with all steps of a fallback; patterns and their networks, paths, and credentials."""
    assert pickle.loads(answer(pickle.dumps(([file], {})))) == load([file], {})


def test_a_proxy_makes_the_way_with_what_it_wants_to_hear(tmp_path: Path) -> None:
    """For all, and for one."""
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\nupstream_proxy: http://u:p@h:1\napis: {x: {url: http://x, upstream_proxy: off}}")
    config = pickle.loads(answer(pickle.dumps(([str(file)], {}))))
    assert config == load([file], {})
    assert (config.upstream_proxy.authorization, config.apis[0].upstream_proxy) == (b"Basic dTpw", None)


def test_it_raises_the_same(tmp_path: Path) -> None:
    """Every problem, and what to watch."""
    file = tmp_path / "a.yaml"
    file.write_text("version: 2\n")
    with pytest.raises(ConfigError) as here:
        load([file], {})
    with pytest.raises(ConfigError) as there:
        load_apart([file], {})
    assert (there.value.problems, there.value.watched) == (here.value.problems, here.value.watched)


def test_the_child_answers_with_what_load_gives_or_raises(tmp_path: Path) -> None:
    """Its part, without a process."""
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\napis: {x: {url: http://x}}")
    assert pickle.loads(answer(pickle.dumps(([str(file)], {})))) == load([file], {})
    assert isinstance(pickle.loads(answer(pickle.dumps(([str(tmp_path / "none")], {})))), ConfigError)


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words are in the exception."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="the process that loads the configuration failed"):
        load_apart([], {})
