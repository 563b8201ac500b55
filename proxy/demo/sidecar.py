"""The real ``backstay run`` as a child process, on a configuration derived from demo.yaml.

Used by stage.py. The policies are those of the file. Addresses become free ports of the loopback interface,
which its log tells of, and a shorter story shortens the breaker's times as it shortens the outage.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from proxy.clock import Clock
from proxy.errors import DeadlineExceeded

API: Final = "shop"
"""The name of the one api in config/demo.yaml."""

_BREAKER_TIMES: Final = {"window": 2.0, "open": 0.2, "max_open": 0.2, "ramp": 0.2}  # the least seconds of each
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_STATE: Final = re.compile(r'^backstay_breaker_state\{[^}]*\bstate="([^"]+)"[^}]*\} 1(?:\.0)?$', re.MULTILINE)
_RUN: Final = (sys.executable, "-m", "proxy", "run")
_START_LIMIT: Final = 15.0
_STOP_LIMIT: Final = 3.0


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


CONFIG: Final = Path(__file__).with_name("demo.yaml")
"""The shipped configuration; ``config/demo.yaml`` is a link to it, so that a wheel has it too."""


def derive(text: str, *, vendor: str, scale: float) -> dict[str, Any]:
    """The configuration to run: ``text`` with the vendor's URL, any free ports, and times by ``scale``."""
    config: dict[str, Any] = yaml.safe_load(text)
    config["listen"] = {"agent": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "off"}
    api = config["apis"][API]
    api["url"] = vendor
    for key, least in _BREAKER_TIMES.items():
        if key in api["breaker"]:
            api["breaker"][key] = _scaled(api["breaker"][key], scale, least)
    return config


def _scaled(duration: str, scale: float, least: float) -> str:
    match = re.fullmatch(r"([\d.]+)(ms|s|m|h)", duration)
    if match is None:
        raise DemoError(f"demo.yaml: {duration!r} is not a duration")
    return f"{round(max(least, float(match[1]) * _SECONDS[match[2]] * scale) * 1000)}ms"


def breaker_state(metrics: str) -> str:
    """The state of the breaker that a /metrics page tells of; ``unknown`` if it tells of none."""
    found = _STATE.search(metrics)
    return found[1] if found else "unknown"


def listeners(log: str) -> dict[str, int]:
    """The ports that Backstay's log tells of, by listener."""
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{") and line.endswith("}")]
    return {record["listener"]: record["port"] for record in records if record["msg"] == "listening"}


class Sidecar:
    """One ``backstay run`` (or another ``command``) with its configuration and its log in ``folder``."""

    def __init__(self, folder: Path, clock: Clock, command: Sequence[str] = _RUN) -> None:
        self._folder = folder
        self._clock = clock
        self._command = command
        self._ports: dict[str, int] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._client: aiohttp.ClientSession | None = None

    @property
    def base(self) -> str:
        """The base URL to give to the agent, once it is ready."""
        return f"http://127.0.0.1:{self._ports['agent']}/{API}"

    async def start(self, vendor: str, scale: float) -> None:
        """Start it before ``vendor`` and wait until it is ready; raises DemoError."""
        text = await asyncio.to_thread(CONFIG.read_text)
        file, log = self._folder / "backstay.yaml", self._folder / "backstay.log"
        await asyncio.to_thread(file.write_text, yaml.safe_dump(derive(text, vendor=vendor, scale=scale)))
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1))
        with log.open("wb") as stream:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._command, str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is for us; we end it ourselves
            )
        await self._until_ready(self._process)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        limit = self._clock.now() + _START_LIMIT
        while await self._get("/readyz") is None:
            if process.returncode is not None:
                raise DemoError(f"Backstay ended at once (exit code {process.returncode}):\n{self._last_words()}")
            if self._clock.now() > limit:
                raise DemoError(f"Backstay was not ready after {_START_LIMIT:.0f} s:\n{self._last_words()}")
            await self._clock.sleep(0.05)
            self._ports = listeners(self._log())

    async def breaker(self) -> str:
        """The state of its breaker now; raises DemoError if it is no longer there."""
        if self._process is not None and self._process.returncode is not None:
            raise DemoError(f"Backstay ended in the middle of the demonstration:\n{self._last_words()}")
        return breaker_state(await self._get("/metrics") or "")

    async def stop(self) -> None:
        """End it: politely, then not."""
        if self._client is not None:
            await self._client.close()
        if self._process is not None:
            await end(self._process, self._clock)

    async def _get(self, path: str) -> str | None:
        if self._client is None or "metrics" not in self._ports:
            return None
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._client.get(f"http://127.0.0.1:{self._ports['metrics']}{path}") as answer:
                return await answer.text() if answer.status == 200 else None
        return None

    def _last_words(self) -> str:
        return "\n".join(f"  {line}" for line in self._log().splitlines()[-12:])

    def _log(self) -> str:
        return (self._folder / "backstay.log").read_text(errors="replace")


async def end(process: asyncio.subprocess.Process, clock: Clock, limit: float = _STOP_LIMIT) -> None:
    """End a child process and wait for it; one that has not ended after ``limit`` seconds is killed."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await clock.wait(process.wait(), limit, DeadlineExceeded())
    except DeadlineExceeded:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
