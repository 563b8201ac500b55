"""What composition is tested with: configurations from a text, and a program that ends with its test."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from proxy.app import App
from proxy.clock import Clock
from proxy.config.load import load
from tests.support.script import Rig

Writes: TypeAlias = Callable[..., Path]
Starts: TypeAlias = Callable[..., Any]


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    made = Clock(asyncio.get_running_loop(), chance=lambda: 0.5)
    yield made
    await made.stop()


@pytest.fixture
async def rig(clock: Clock) -> Rig:
    return Rig(clock)


@pytest.fixture
def writes(tmp_path: Path) -> Writes:
    """Write a configuration whose listeners take any free port."""

    def write(apis: str, *, listen: str = "metrics: off, admin: off", more: str = "") -> Path:
        path = tmp_path / "backstay.yaml"
        text = f"version: 1\nlisten: {{agent: 127.0.0.1:0, {listen}}}\n{more}\napis:\n{apis}"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def settled() -> Iterator[None]:
    """Undo what a process does to its collector at start.

    What it has frozen stays so: a collection behind each later test would walk all that pytest has imported.
    """
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """What the program logs."""
    stream, logger = io.StringIO(), logging.getLogger("backstay")
    handler, level = logging.StreamHandler(stream), logger.level
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield stream.getvalue
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
async def starts(settled: None) -> AsyncIterator[Starts]:
    """Start the program on a configuration file, in this process; it is stopped with the test."""
    running: list[asyncio.Task[int]] = []

    async def start(path: Path) -> App:
        app = App(load([path], {}), [path], {})
        task = asyncio.get_running_loop().create_task(app.serve())
        running.append(task)
        while not app.ready:
            await asyncio.wait({task}, timeout=0.005)
            if task.done():
                task.result()
        return app

    yield start
    for task in running:
        task.cancel()
        await asyncio.wait({task})
