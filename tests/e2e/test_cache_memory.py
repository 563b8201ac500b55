"""What cached answers cost: the bound holds, in bytes and in the memory of the process, whatever comes through."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.fill import fill
from tests.e2e.conftest import Start
from tests.support.process import Document, Sidecar, document, wait_until, write
from tests.support.vendor import Vendor, noise

MIB: Final = 1024 * 1024
BOUND: Final = 16 * MIB
SIZES: Final = (200, 2_000, 20_000, 100_000, 1_000_000)  # some come whole, some are stored as they pass
ALLOWANCE: Final = 8 * MIB  # what is on its way at the same time, and what serving allocates once
USED: Final = "backstay_cache_bytes"
EVICTED: Final = "backstay_evictions_total"


def keeping(vendor: Vendor, bound: int = BOUND, **cache: Any) -> Document:
    """An api of which everything is kept for an hour."""
    shop = {"url": vendor.url, "cache": {"mode": "ttl", "ttl": "1h", **cache}}
    return document({"shop": shop}, limits={"memory": {"cache": bound}}, log={"access": False})


def distinct(total: int) -> Iterator[str]:
    """Paths of different answers with ``total`` bytes in all."""
    chance, number = random.Random(3), 0
    while total > 0:
        size = chance.choice(SIZES)
        total, number = total - size, number + 1
        yield f"/shop/bytes/{size}?{number}"


def idle(sidecar: Sidecar) -> int:
    """Bytes of memory once the first calls have allocated what stays."""
    for size in SIZES:
        assert sidecar.get(f"/shop/bytes/{size}").status_code == 200
    assert sidecar.admin("DELETE", "/v1/cache?all=true").json() == {"purged": len(SIZES)}
    return sidecar.memory()


def test_ten_times_the_bound_stays_within_it(start: Start, vendor: Vendor) -> None:
    """What is kept, and what the process holds for it; those that were asked for last are still there."""
    sidecar = start(keeping(vendor))
    before = idle(sidecar)
    assert fill(sidecar.ports["agent"], distinct(10 * BOUND)) >= 10 * BOUND
    assert 0.9 * BOUND < sidecar.value(USED, store="memory") <= BOUND
    assert sidecar.value(EVICTED, what="cache_entries") > 100
    assert sidecar.memory() - before <= 1.2 * BOUND + ALLOWANCE
    vendor.forget()
    *_, last = distinct(10 * BOUND)
    assert sidecar.get(last).headers["backstay-outcome"] == "hit"
    assert sidecar.get(next(distinct(1))).headers.get("backstay-outcome") is None


def test_refreshes_let_go_of_what_they_replace(start: Start, vendor: Vendor) -> None:
    """Sixty versions of a large answer, each fetched behind the one before, take the place of one."""
    sidecar = start(keeping(vendor, mode="rfc9111", ttl="off", stale_while_revalidate="1h"))
    vendor.fields = {"Cache-Control": "max-age=60, stale-while-revalidate=3600", "Age": "100"}
    before = idle(sidecar)

    def refreshed() -> bool:
        for _ in range(10):
            assert sidecar.get("/shop/bytes/1000000").content == noise(1_000_000)
        return sidecar.value("backstay_cache_requests_total", result="refreshed") >= 60

    wait_until(refreshed, "the refreshes")
    assert MIB / 2 < sidecar.value(USED, store="memory") < 2 * MIB
    assert sidecar.memory() - before < 2 * ALLOWANCE


def test_a_lower_bound_holds_as_soon_as_it_is_in_force(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """What is over it goes at once, what was used last stays, and a higher one makes room again."""
    sidecar = start(keeping(vendor))
    paths = [f"/shop/bytes/1000000?{number}" for number in range(12)]
    fill(sidecar.ports["agent"], paths, connections=1)
    assert sidecar.value(EVICTED, what="cache_entries") == 0
    write(tmp_path / "backstay.yaml", keeping(vendor, bound=BOUND // 4))
    assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
    assert sidecar.value(USED, store="memory") <= BOUND // 4
    assert sidecar.value(EVICTED, what="cache_entries") == 8
    vendor.forget()
    fill(sidecar.ports["agent"], paths[-4:])
    assert not vendor.calls
    write(tmp_path / "backstay.yaml", keeping(vendor))
    sidecar.admin("POST", "/v1/reload")
    for _ in range(2):
        fill(sidecar.ports["agent"], paths, connections=1)
    assert len(vendor.calls) == 8
