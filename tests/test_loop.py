"""loop.py: names are looked up beside everything else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.loop import Loop


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=Loop) as made:
        yield made


def test_a_name_is_found(runner: asyncio.Runner) -> None:
    """As socket.getaddrinfo has it."""

    async def look() -> list[Any]:
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    assert runner.run(look()) == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


def test_what_is_no_name_is_an_error_of_whoever_asked(runner: asyncio.Runner) -> None:
    """The error comes out of the await."""

    async def look() -> None:
        await asyncio.get_running_loop().getaddrinfo("a..b", 80)

    with pytest.raises((socket.gaierror, UnicodeError)):
        runner.run(look())


class Hanging(Loop):
    """Lookups that end when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def _look_up(self, found: asyncio.Future[list[Any]], host: Any, port: Any, hints: dict[str, Any]) -> None:
        self.begun.release()
        if host == "hangs":
            self.go_on.wait(30)
        super()._look_up(found, "127.0.0.1", port, hints)
        self.ended.release()


async def _leave_hanging(loop: Hanging, number: int) -> None:
    tasks = [loop.create_task(loop.getaddrinfo("hangs", 80)) for _ in range(number)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_names_that_hang_keep_no_other_name_waiting() -> None:
    """More of them than libuv has threads."""

    async def look(loop: Hanging) -> list[Any]:
        await _leave_hanging(loop, 8)
        return await loop.getaddrinfo("good", 80)

    loop = Hanging()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(look(loop))
        loop.go_on.set()


def test_the_loop_is_closed_while_names_are_looked_up() -> None:
    """What ends later finds nobody, and says nothing."""
    loop = Hanging()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_leave_hanging(loop, 3))
        for _ in range(3):
            assert loop.begun.acquire(timeout=30)
    loop.go_on.set()
    for _ in range(3):
        assert loop.ended.acquire(timeout=30)


def test_lookups_are_bounded() -> None:
    """A lookup that nobody waits for any more counts until it has ended; then the next has its turn."""

    async def look(loop: Hanging) -> tuple[bool, list[Any]]:
        await _leave_hanging(loop, 64)
        next_one = loop.create_task(loop.getaddrinfo("good", 80))
        await asyncio.sleep(0)
        waits = not next_one.done() and loop._turns.locked()
        loop.go_on.set()
        return waits, await next_one

    loop = Hanging()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        waits, found = runner.run(look(loop))
    assert waits
    assert found


def test_a_lookup_that_gets_no_thread_takes_no_turn(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have no more than so many: later, when there is room again, names must still be found."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def look() -> list[Any]:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            for _ in range(100):
                with pytest.raises(OSError, match="can't start new thread"):
                    await loop.getaddrinfo("127.0.0.1", 80)
        return await loop.getaddrinfo("127.0.0.1", 80)

    assert runner.run(look())
