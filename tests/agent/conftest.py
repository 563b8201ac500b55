"""A stand-in for Backstay, with an authority that is made once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.agent.backstand import Backstand


@pytest.fixture(scope="module")
def _backstand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backstand]:
    with Backstand(tmp_path_factory.mktemp("backstand"), time.time()).running() as backstand:
        yield backstand


@pytest.fixture
def backstand(_backstand: Backstand) -> Backstand:
    _backstand.forget()
    return _backstand
