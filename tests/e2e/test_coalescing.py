"""Identical reads while one is on its way: one call of the vendor's, however it ends, and whoever leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import Crowd, Got, all_wait, encode, largest_crowd, read_answer
from tests.support.process import Sidecar, document, wait_until
from tests.support.vendor import Vendor, noise

MANY: Final = 5000
# Upstream connections are not kept: a reset of a kept one may be an old goodbye, and the call is sent once more.
FRESH: Final = {"Connection": "close", "Cache-Control": "max-age=60"}
OLD: Final = {**FRESH, "Age": "100"}  # stale from the beginning
SLOW: Final = {"name": "slow", "match": {"paths": ["/hang/slow"]}, "timeout": {"first_byte": "1500ms"}}


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def size() -> int:
    return largest_crowd(MANY)


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, share: Start, size: int) -> Sidecar:
    shopping = {"url": shop.url, "cache": {"stale_wait": "30s"}, "breaker": False, "routes": [SLOW]}
    return share(document({"shop": shopping}, log={"access": False}))


@pytest.fixture(scope="module")
def crowd(sidecar: Sidecar, size: int) -> Iterator[Crowd]:
    with Crowd(sidecar, size) as agents:
        yield agents


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor) -> Iterator[None]:
    shop.forget()
    shop.fields = dict(FRESH)
    shop.mode = "well"
    yield
    shop.release()


def together(sidecar: Sidecar, shop: Vendor, crowd: Crowd, path: str, *fields: str) -> list[Got]:
    """What each of a crowd gets if the vendor answers only when all have asked."""
    shop.hold()
    crowd.ask(path, *fields)
    all_wait(sidecar, len(crowd.agents))
    shop.release()
    return crowd.answers()


def test_five_thousand_reads_are_one_call(sidecar: Sidecar, shop: Vendor, crowd: Crowd) -> None:
    """All get the same bytes; each but the first is told that the call was not its own."""
    answers = together(sidecar, shop, crowd, "/shop/bytes/1000")
    assert len(shop.calls) == 1
    assert {(got.status, got.body, got.whole) for got in answers} == {(200, noise(1000), True)}
    others = len(crowd.agents) - 1
    assert Counter(got.outcome for got in answers) == {"": 1, "coalesced": others}
    assert sidecar.value("backstay_cache_requests_total", result="coalesced") == others
    assert sidecar.get("/shop/bytes/1000").headers["backstay-outcome"] == "hit"


def test_a_failure_is_everybodys(sidecar: Sidecar, shop: Vendor, crowd: Crowd) -> None:
    """Nobody sends again what the vendor has just failed to do: that would be the storm."""
    answers = together(sidecar, shop, crowd, "/shop/status/503")
    assert len(shop.calls) == 1
    assert {got.status for got in answers} == {503}
    assert {b'"message": "the vendor says 503"' in got.body for got in answers} == {True}


def test_a_reset_is_everybodys(sidecar: Sidecar, shop: Vendor, crowd: Crowd) -> None:
    """Each gets an error of its own making, with the same reason."""
    answers = together(sidecar, shop, crowd, "/shop/reset")
    assert len(shop.calls) == 1
    assert Counter((got.status, got.outcome) for got in answers) == {(502, "reset"): len(crowd.agents)}


def test_a_timeout_is_everybodys(sidecar: Sidecar, shop: Vendor) -> None:
    """The vendor that hangs is asked once, and all learn of the timeout at the same time."""
    with Crowd(sidecar, 300) as crowd:
        answers = crowd.ask("/shop/hang/slow").answers()
    assert len(shop.calls) == 1
    assert Counter((got.status, got.outcome) for got in answers) == {(504, "timeout"): 300}


@pytest.mark.parametrize("trouble", ["failing", "resetting"])
def test_with_a_stale_answer_the_failure_is_nobodys(sidecar: Sidecar, shop: Vendor, crowd: Crowd, trouble: str) -> None:
    """All get the stored answer, marked as what it is; one call has failed."""
    shop.fields = dict(OLD)
    path = f"/shop/bytes/2000?{trouble}"
    assert sidecar.get(path).content == noise(2000)
    shop.forget()
    shop.mode = trouble
    answers = together(sidecar, shop, crowd, path)
    assert len(shop.calls) == 1
    assert Counter((got.status, got.outcome, got.body) for got in answers) == {
        (200, "stale", noise(2000)): len(answers)
    }
    assert all("ttl=-" in got.field("Cache-Status") for got in answers)


def test_with_a_stale_answer_nobody_waits_for_a_vendor_that_hangs(start: Start, vendor: Vendor) -> None:
    """After stale_wait all get the stored answer, late comers at once; the one call goes on behind their backs."""
    sidecar = start(document({"shop": {"url": vendor.url, "cache": {"stale_wait": "200ms"}}}))
    vendor.fields = dict(OLD)
    assert sidecar.get("/shop/bytes/2000").status_code == 200
    vendor.forget()
    vendor.hold()
    with Crowd(sidecar, 500) as crowd:
        for _ in range(2):
            answers = crowd.ask("/shop/bytes/2000").answers()
            assert {(got.outcome, got.body) for got in answers} == {("stale", noise(2000))}
    assert len(vendor.calls) == 1
    vendor.fields = dict(FRESH)
    vendor.release()
    wait_until(lambda: sidecar.get("/shop/bytes/2000").headers.get("backstay-outcome") == "hit", "the refresh")
    assert len(vendor.calls) == 1


def test_a_leader_that_leaves_takes_nobody_along(sidecar: Sidecar, shop: Vendor) -> None:
    """The call goes on for those who wait."""
    shop.hold()
    with Crowd(sidecar, 1) as leader, Crowd(sidecar, 100) as crowd:
        leader.ask("/shop/bytes/3000")
        wait_until(lambda: shop.seen("running", "bytes"), "the call arriving")
        crowd.ask("/shop/bytes/3000")
        all_wait(sidecar, 101)
        leader.leave()
        all_wait(sidecar, 100)
        shop.release()
        assert {(got.outcome, got.body) for got in crowd.answers()} == {("coalesced", noise(3000))}
    assert len(shop.calls) == 1


def test_a_call_that_nobody_waits_for_any_more_ends(sidecar: Sidecar, shop: Vendor) -> None:
    """When the last of them leaves, the vendor notices."""
    shop.hold()
    with Crowd(sidecar, 20) as crowd:
        crowd.ask("/shop/bytes/4000")
        all_wait(sidecar, 20)
        while crowd.agents:
            assert not shop.seen("gone")
            crowd.leave()
    wait_until(lambda: shop.seen("gone"), "the vendor noticing")
    assert len(shop.calls) == 1
    shop.release()
    assert sidecar.get("/shop/bytes/4000").content == noise(4000)


def test_callers_with_other_credentials_share_nothing(sidecar: Sidecar, shop: Vendor) -> None:
    """Each credential is a call of its own, and each caller gets the answer to its own."""
    shop.hold()
    with Crowd(sidecar, 30) as crowd:
        for number, agent in enumerate(crowd.agents):
            agent.sendall(encode("/shop/echo/mine", [f"Authorization: Bearer {number % 3}"]))
        all_wait(sidecar, 30)
        shop.release()
        for number, agent in enumerate(crowd.agents):
            assert f'"Bearer {number % 3}"'.encode() in read_answer(agent).body
    assert sorted(call.header("authorization") or "" for call in shop.calls) == ["Bearer 0", "Bearer 1", "Bearer 2"]


def test_answers_that_are_no_use_to_others_are_fetched_by_each(sidecar: Sidecar, shop: Vendor) -> None:
    """Those who have waited for one go by themselves, and the next ones do not wait at all."""
    shop.fields |= {"Cache-Control": "no-store"}
    with Crowd(sidecar, 20) as crowd:
        answers = together(sidecar, shop, crowd, "/shop/echo/secret")
        assert len(shop.calls) == 20
        assert {(got.status, got.outcome) for got in answers} == {(200, "")}
        shop.hold()
        crowd.ask("/shop/echo/secret")
        wait_until(lambda: len(shop.calls) == 40, "all of them reaching the vendor")
        shop.release()
        assert {got.status for got in crowd.answers()} == {200}
