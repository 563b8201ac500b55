"""A thousand names in TLS, through CONNECT: what is signed is bounded, memory too, and other calls go on meanwhile.

An agent can ask for a certificate of each host of its apis. Here it begins handshakes and ends none, which costs it
next to nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.support.load import Load
from tests.support.process import PATIENCE, Document, Sidecar, document
from tests.support.vendor import Vendor

NAMES: Final = [f"n{number}.example" for number in range(1000)]
MORE: Final = [f"m{number}.example" for number in range(300)]
WAITING: Final = 64  # names that may wait for their certificate
KEPT: Final = 256  # certificates, with their contexts
ALLOWANCE: Final = 48 << 20  # bytes: contexts of 20 KB, TLS buffers of 128 KiB for each open connection, and noise

SERVED, REFUSED = 22, 21  # the type of the first record that comes back: handshake, alert
UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"


def client_hello(name: str) -> bytes:
    """As a client begins that asks for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.fixture(scope="module")
def sidecar(share: Callable[[Document], Sidecar], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("authority")
    intercept = {"ca_dir": str(folder / "ca"), "trust_dir": str(folder / "trust")}
    with Vendor() as vendor:
        yield share(document({"api": {"url": vendor.url, "hosts": [*NAMES, *MORE]}}, tls_intercept=intercept))


def storm(sidecar: Sidecar, names: list[str], at_once: int, through: Callable[[str], str] = str) -> list[bytes]:
    """The first bytes that come back for each name, asked for in a tunnel to ``through(name)``."""
    return asyncio.run(_storm(sidecar.ports["agent"], names, at_once, through))


async def _storm(port: int, names: list[str], at_once: int, through: Callable[[str], str]) -> list[bytes]:
    turn = asyncio.Semaphore(at_once)

    async def one(name: str) -> bytes:
        async with turn:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                authority = f"{through(name)}:443"
                head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
                writer.write(head + client_hello(name))  # at once: a pause would have the host itself called
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
                return await reader.read(7)
            finally:
                writer.transport.abort()

    async with asyncio.timeout(3 * PATIENCE):
        return await asyncio.gather(*map(one, names))


def test_a_thousand_hosts_of_an_api(sidecar: Sidecar) -> None:
    """Each is served or refused at once, what was served last is all that is kept, and other calls go on meanwhile."""
    with Load("127.0.0.1", sidecar.ports["agent"], "/api/echo", workers=1) as load:
        before, answered = sidecar.forget_peak(), load.total
        outcomes = Counter(record[0] for record in storm(sidecar, NAMES, 4 * WAITING))
        meanwhile = load.total - answered
    assert set(outcomes) == {SERVED, REFUSED}
    assert outcomes[SERVED] >= WAITING
    assert (set(load.answers), load.lost, load.refused) == ({200}, [], 0)
    assert meanwhile > 20
    assert {record[0] for record in storm(sidecar, MORE, WAITING)} == {SERVED}
    assert evictions(sidecar) == outcomes[SERVED] + len(MORE) - KEPT
    assert sidecar.memory("VmHWM") - before < ALLOWANCE


def test_a_thousand_names_of_nobody(sidecar: Sidecar) -> None:
    """In a tunnel to an api, another name is refused without a certificate."""
    before, evicted = sidecar.forget_peak(), evictions(sidecar)
    records = storm(sidecar, [f"x{name}" for name in NAMES], WAITING, lambda _: NAMES[0])
    assert set(records) == {UNRECOGNIZED_NAME}
    assert sidecar.value("backstay_captured_connections_total", handling="refused") >= len(NAMES)
    assert evictions(sidecar) == evicted
    assert sidecar.memory("VmHWM") - before < ALLOWANCE


def evictions(sidecar: Sidecar) -> float:
    return sidecar.value("backstay_evictions_total", what="leaf_certificates")
