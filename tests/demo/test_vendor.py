"""proxy/demo/vendor.py: the vendor obeys the schedule and counts what reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.clock import Clock
from proxy.demo.schedule import Fate, Kind, Schedule
from proxy.demo.vendor import Vendor


class Script(Schedule):
    """A schedule whose calls have the fate of their number; the price list is answered, then not, then hangs."""

    def fate(self, call: int, visit: int, moment: float) -> Fate:
        return Fate([Kind.ANSWER, Kind.ERROR, Kind.HANG][(max(call, 0) + visit) % 3], 0.0)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor(Script(1), Clock(asyncio.get_running_loop()))
    yield vendor
    await vendor.close()


async def statuses(base: str, *numbers: int) -> list[int]:
    found = []
    async with aiohttp.ClientSession() as client:
        for number in numbers:
            async with client.get(f"{base}/v1/orders/{number}") as answer:
                await answer.read()
                found.append(answer.status)
    return found


async def test_answers_and_errors_are_as_scheduled(vendor: Vendor) -> None:
    """Call 0 is answered, call 1 is not; both are counted, at seconds since the start."""
    vendor.begin(now=asyncio.get_running_loop().time())
    assert await statuses(await vendor.open(), 0, 1) == [200, 503]
    assert [0 <= moment < 30 for moment in vendor.arrivals] == [True, True]


async def test_the_second_visit_of_a_call_has_a_fate_of_its_own(vendor: Vendor) -> None:
    """A retried call is counted as a further visit."""
    assert await statuses(await vendor.open(), 0, 0) == [200, 503]


async def test_the_price_list_may_be_kept_for_a_second_and_an_order_may_not(vendor: Vendor) -> None:
    """Reads have fates like calls, are counted among the requests, and by themselves."""
    base = await vendor.open()
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{base}/v1/orders/0") as order:
            assert "Cache-Control" not in order.headers
        answers = [await client.get(f"{base}/v1/prices") for _ in range(2)]
    fresh = [answer for answer in answers if answer.status == 200]
    assert [answer.headers["Cache-Control"] for answer in fresh] == ["max-age=1"]
    assert await fresh[0].json() == {"prices": {"lamp": 39, "chair": 129}, "as_of": 0.0}
    assert [len(vendor.arrivals), len(vendor.reads)] == [3, 2]


async def test_a_hang_is_never_answered_and_does_not_stop_the_vendor_from_closing(vendor: Vendor) -> None:
    """The client has to give up; the vendor ends at once."""
    base = await vendor.open()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as client:
        with pytest.raises(TimeoutError):
            await client.get(f"{base}/v1/orders/2")
    async with asyncio.timeout(2):
        await vendor.close()
