"""Tests of the mint: one minting for all who ask for a name, beside the loop, and a bound on what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.clock import Clock
from proxy.errors import Internal
from proxy.wire.ca import LIFE, Authority
from proxy.wire.intercept import Interceptor
from proxy.wire.mint import Mint, MintBusy
from tests.support.authority import DAY, handshake, living_contexts, strict

NAME = "api.example.com"


class Watched(Authority):
    """The names that were signed; ``gate`` holds the thread while it is shut."""

    signed: list[str]
    gate: threading.Event

    def issue(self, name: str, wall: float) -> bytes:
        self.gate.wait(30)
        self.signed.append(name)
        return super().issue(name, wall)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    authority = Authority.load(tmp_path_factory.mktemp("ca"), time.time())
    return Watched(authority._key, [authority._certificate])


@pytest.fixture
def authority(made: Watched) -> Iterator[Watched]:
    made.signed, made.gate = [], threading.Event()
    made.gate.set()
    yield made
    made.gate.set()


class Wall:
    """Wall time that the test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def mint(authority: Watched, wall: Wall) -> AsyncIterator[Mint]:
    """Room for three contexts, and for four names that wait."""
    mint = Mint(Clock(asyncio.get_running_loop(), wall=wall), authority, limit=3, waiting=4)
    yield mint
    mint.close()


def asking(mint: Mint, *names: str) -> list[asyncio.Task[ssl.SSLContext]]:
    return [asyncio.create_task(mint.context(name)) for name in names]


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


# --- a context ----------------------------------------------------------------------------------------------


async def test_minted_once_and_kept(mint: Mint, authority: Watched) -> None:
    """What was asked for is ready from then on."""
    assert mint.ready(NAME) is None
    context = await mint.context(NAME)
    assert mint.ready(NAME) is context
    assert await mint.context(NAME) is context
    assert authority.signed == [NAME]
    assert repr(mint) == "<Mint 1/3 kept, 0/4 asked>"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_a_client_meets(mint: Mint, version: ssl.TLSVersion) -> None:
    """TLS from 1.2 on, http/1.1 for who offers it, and a chain that a strict client takes."""
    client = strict(mint.authority.pem)
    client.maximum_version = version
    made = handshake(client, await mint.context(NAME), NAME)
    assert made.selected_alpn_protocol() == "http/1.1"
    assert (await mint.context(NAME)).minimum_version == ssl.TLSVersion.TLSv1_2


async def test_real_clients(mint: Mint, tmp_path: Path) -> None:
    """Programs that know nothing but the bundle: curl by name, openssl by address."""
    mint.authority.publish(tmp_path)
    served = [await answering(await mint.context(name)) for name in (NAME, "127.0.0.1")]
    bundle, (named, addressed) = tmp_path / "ca-bundle.crt", [server.sockets[0].getsockname()[1] for server in served]
    curl = ["curl", "-sS", "--noproxy", "*", "--resolve", f"{NAME}:{named}:127.0.0.1", f"https://{NAME}:{named}/"]
    options = ["-verify_return_error", "-x509_strict", "-verify_ip", "127.0.0.1", "-alpn", "h2,http/1.1"]
    openssl = ["openssl", "s_client", *options, "-connect", f"127.0.0.1:{addressed}"]
    assert await output(*curl, "--cacert", bundle) == "hello"
    said = await output(*openssl, "-CAfile", bundle)
    assert "Verification: OK" in said
    assert "ALPN protocol: http/1.1" in said
    for server in served:
        server.close()


async def answering(context: ssl.SSLContext) -> asyncio.Server:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.drain()
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)


async def output(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        return (await process.communicate())[0].decode()


# --- the key, which OpenSSL reads from files alone -----------------------------------------------------------


class Disk:
    """Whether temporary files were made, and how they were to be had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modes: list[int] = []
        self.paths: list[str] = []
        real = tempfile.NamedTemporaryFile

        def temporary(**options: str) -> object:
            file = real(**options)  # type: ignore[call-overload]
            self.modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            self.paths.append(file.name)
            return file

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", temporary)


async def test_the_key_stays_in_memory(mint: Mint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has files without a name."""
    disk = Disk(monkeypatch)
    handshake(strict(mint.authority.pem), await mint.context(NAME), NAME)
    assert disk.paths == []


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("lack", ["none", "forbidden", "no /proc"])
async def test_the_key_on_disk(mint: Mint, monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    """Elsewhere it is in a file for a moment, which nobody else can read."""
    disk = Disk(monkeypatch)
    before = descriptors()

    def forbidden(_: str) -> int:
        raise PermissionError

    match lack:
        case "none":
            monkeypatch.delattr(os, "memfd_create")
        case "forbidden":
            monkeypatch.setattr(os, "memfd_create", forbidden)
        case _:
            monkeypatch.setattr(os, "access", lambda path, _: not path.startswith("/proc"))
    handshake(strict(mint.authority.pem), await mint.context(NAME), NAME)
    assert disk.modes == [0o600]
    assert not Path(disk.paths[0]).exists()
    assert descriptors() == before


# --- time ---------------------------------------------------------------------------------------------------


async def test_renewed_before_it_expires(mint: Mint, authority: Watched, wall: Wall) -> None:
    """A leaf is used for six days of its seven, and minted anew at the next use."""
    first = await mint.context(NAME)
    wall.ahead = 6 * DAY - 60
    assert mint.ready(NAME) is first
    wall.ahead = 6 * DAY + 60
    assert mint.ready(NAME) is None
    assert await mint.context(NAME) is not first
    assert mint.ready(NAME) is not None
    assert len(authority.signed) == 2


async def test_a_clock_that_was_wrong(mint: Mint, wall: Wall) -> None:
    """When it is set back to before the leaf, that is not valid yet."""
    await mint.context(NAME)
    wall.ahead = -2 * DAY
    assert mint.ready(NAME) is None


# --- many ---------------------------------------------------------------------------------------------------


async def test_twins_share_one_minting(mint: Mint, authority: Watched) -> None:
    """Whoever asks for a name that is being minted waits for that, and takes no room; leaving disturbs nobody."""
    authority.gate.clear()
    twins = asking(mint, *[NAME] * 20)
    await turn()
    twins[0].cancel()
    await turn()
    authority.gate.set()
    assert len(set(await asyncio.gather(*twins[1:]))) == 1
    assert authority.signed == [NAME]


async def test_one_that_nobody_waits_for_any_more(mint: Mint, authority: Watched) -> None:
    """It is minted for the next one who asks."""
    authority.gate.clear()
    (task,) = asking(mint, NAME)
    await turn()
    task.cancel()
    authority.gate.set()
    await mint.context("other.example")
    assert mint.ready(NAME) is not None


async def test_what_fails_for_one_that_has_left_is_nobodys(mint: Mint, authority: Watched) -> None:
    """Neither the loop's handler hears of it, as it would from shield of Python 3.14, nor the log."""
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    authority.gate.clear()
    (task,) = asking(mint, "no name")
    await turn()
    task.cancel()
    authority.gate.set()
    await mint.context(NAME)
    del task
    gc.collect()
    assert not unhandled


async def test_the_one_used_longest_ago_goes(mint: Mint) -> None:
    """There is room for three: of those, what was asked for lately stays."""
    first = [await mint.context(name) for name in ("a.example", "b.example", "c.example")]
    assert mint.ready("a.example") is first[0]
    await mint.context("d.example")
    assert [mint.ready(f"{letter}.example") is not None for letter in "abcd"] == [True, False, True, True]
    assert mint.evictions == 1


async def test_as_many_wait_as_may(mint: Mint, authority: Watched) -> None:
    """The next name is refused at once, while twins of those that wait are not; and then there is room again."""
    authority.gate.clear()
    waiting = asking(mint, *(f"{letter}.example" for letter in "abcda"))
    await turn()
    with pytest.raises(MintBusy):
        await mint.context("e.example")
    authority.gate.set()
    await asyncio.gather(*waiting)
    await mint.context("e.example")
    assert authority.signed == [f"{letter}.example" for letter in "abcde"]


async def test_what_is_no_name(mint: Mint) -> None:
    """It fails for all who asked, names behind it are minted, and it is not remembered."""
    outcomes = await asyncio.gather(*asking(mint, "*.example", "*.example", NAME), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError, ssl.SSLContext]
    with pytest.raises(ValueError, match="no name of a host"):
        await mint.context("*.example")


async def test_an_authority_that_expires_while_it_is_used(mint: Mint, wall: Wall) -> None:
    """Who asks for a certificate then is told at once, as of any other failure of ours."""
    interceptor = Interceptor(mint._clock, mint, lambda _: None)
    assert await interceptor.context(NAME) is mint.ready(NAME)
    wall.ahead = LIFE
    with pytest.raises(Internal, match=r"no certificate for api\.example\.com: the authority has expired"):
        await interceptor.context(NAME)


@pytest.mark.parametrize("shut", [True, False])
async def test_closed(mint: Mint, authority: Watched, caplog: pytest.LogCaptureFixture, shut: bool) -> None:
    """Whoever waits then is told, one way, whatever the thread is at; and so is whoever comes later."""
    authority.gate.clear()
    waiting = asking(mint, NAME, "*.example", "b.example")
    await turn()
    if not shut:
        authority.gate.set()
    mint.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    authority.gate.set()
    mint._worker.shutdown()
    await turn()
    gc.collect()  # a failure that nobody has looked at is told by now
    assert {type(outcome) for outcome in outcomes} == {MintBusy}
    with pytest.raises(MintBusy):
        await mint.context(NAME)
    assert not caplog.records


async def test_a_storm_of_names(mint: Mint, authority: Watched) -> None:
    """A thousand at once: as many are minted as may wait, the loop turns between any two, and a hot name is ready."""
    hot = await mint.context(NAME)
    turns = [0]
    seen: list[int] = []
    before, done = living_contexts(), asyncio.Event()

    async def others() -> None:
        while not done.is_set():
            turns[0] += 1
            assert mint.ready(NAME) is hot
            await asyncio.sleep(0)

    async def one(name: str) -> None:
        await mint.context(name)
        seen.append(turns[0])

    ticking = asyncio.create_task(others())
    outcomes = await asyncio.gather(*(one(f"n{number}.example") for number in range(1000)), return_exceptions=True)
    done.set()
    await ticking
    await turn()
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [MintBusy] * 996
    assert len(set(seen)) == 4
    assert living_contexts() <= before + 3


async def test_a_storm_that_lasts(authority: Watched) -> None:
    """However many names are minted, what is held stays within its limit, and every one of them was served."""
    mint = Mint(Clock(asyncio.get_running_loop()), authority, limit=8, waiting=16)
    before = living_contexts()
    for batch in range(10):
        await asyncio.gather(*(mint.context(f"n{number}.{batch}.example") for number in range(16)))
        assert repr(mint) == "<Mint 8/8 kept, 0/16 asked>"
    await turn()  # what was gathered last is let go
    assert living_contexts() == before + 8
    assert mint.evictions == 152
    mint.close()
    assert living_contexts() == before
