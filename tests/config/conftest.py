"""Configurations from a text: what they load as, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from proxy.config.load import ConfigError, Problem, load
from proxy.config.settings import Config

Loads: TypeAlias = Callable[..., Config]
Complains: TypeAlias = Callable[..., list[Problem]]


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    """Load the text of a file."""

    def from_text(text: str, **env: str) -> Config:
        path = tmp_path / "backstay.yaml"
        path.write_text(text, encoding="utf-8")
        return load([path], env)

    return from_text


@pytest.fixture
def complains(loads: Loads) -> Complains:
    """The problems of the text of a file."""

    def about(text: str, **env: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            loads(text, **env)
        return list(caught.value.problems)

    return about


@pytest.fixture
def api(complains: Complains) -> Callable[[str], list[str]]:
    """What is said about one api, given by its keys beside the url, as ``line: path: message; remedy``."""

    def about(keys: str) -> list[str]:
        problems = complains(f"version: 1\napis:\n  x:\n    url: https://x.example\n    {keys}\n")
        return [f"{problem.line}: {problem.path}: {problem.message}; {problem.remedy}" for problem in problems]

    return about
