"""Answers that sidecars share on a Redis server, and a server that is killed, paused and back: no call pays for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import Crowd
from tests.support.load import Reading
from tests.support.process import Document, Sidecar, closed_port, document, wait_until, write
from tests.support.redis_server import RedisServer
from tests.support.vendor import Vendor, noise

UP: Final = "backstay_dependency_up"
ERRORS: Final = "backstay_store_errors_total"
FRESH: Final = {"Cache-Control": "max-age=3600"}
RESULTS: Final = "backstay_cache_requests_total"


def sharing(vendor: Vendor, url: str, **cache: Any) -> Document:
    """An api whose answers are kept on a server."""
    shop = {"url": vendor.url, "breaker": False, "cache": {"store": "shared", **cache}}
    return document({"shop": shop}, stores={"shared": url}, log={"access": False})


@pytest.fixture
def pair(
    launch: Callable[..., Sidecar], vendor: Vendor, redis_server: RedisServer, tmp_path: Path
) -> tuple[Sidecar, Sidecar]:
    """Two sidecars on one server, before one vendor whose answers are good for an hour."""
    vendor.fields = dict(FRESH)
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        write(file, sharing(vendor, redis_server.url))
    one, two = map(launch, files)
    return one, two


@pytest.fixture
def sidecar(start: Start, vendor: Vendor, redis_server: RedisServer) -> Sidecar:
    vendor.fields = dict(FRESH)
    return start(sharing(vendor, redis_server.url))


def is_hit(sidecar: Sidecar, path: str) -> bool:
    answer = sidecar.get(path)
    assert answer.status_code == 200
    return bool(answer.headers.get("backstay-outcome") == "hit")


def wait_hit(sidecar: Sidecar, path: str) -> None:
    """Wait until this answer is shared; a machine that is busy may lose one, for a store has 100 ms for everything."""
    wait_until(lambda: is_hit(sidecar, path), f"{path} being a hit")


def wait_same(sidecar: Sidecar, path: str, headers: dict[str, str], body: bytes) -> None:
    """Wait until this answer is a hit, which has to be the one that was stored."""

    def same() -> bool:
        answer = sidecar.get(path, headers=headers)
        hit = bool(answer.headers.get("backstay-outcome") == "hit")
        assert not hit or answer.content == body
        return hit

    wait_until(same, f"{path} being a hit")


def wait_hits(sidecar: Sidecar) -> None:
    """Wait until more of what is read comes from the store."""
    sidecar.wait_value(sidecar.value(RESULTS, result="hit") + 1, RESULTS, result="hit")


def notice(sidecar: Sidecar, *, up: bool) -> None:
    """Wait until the sidecar knows; that the server is away shows when it is asked."""

    def noticed() -> bool:
        if not up:
            assert sidecar.get("/shop/echo/notice").status_code == 200
        return sidecar.value(UP, name="shared") == up

    wait_until(noticed, f"the store being {'up' if up else 'down'}")


# --- sharing ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def partners(share: Start, shop: Vendor, store: RedisServer) -> tuple[Sidecar, Sidecar]:
    """Two that keep each other's answers."""
    return share(sharing(shop, store.url)), share(sharing(shop, store.url))


@pytest.fixture
def one(partners: tuple[Sidecar, Sidecar], shop: Vendor) -> Sidecar:
    shop.fields = dict(FRESH)
    return partners[0]


@pytest.fixture
def two(partners: tuple[Sidecar, Sidecar]) -> Sidecar:
    return partners[1]


def test_what_one_has_fetched_the_other_serves(one: Sidecar, two: Sidecar, shop: Vendor) -> None:
    """Small answers and large ones, and those that vary; an operator purges them for both."""
    assert not is_hit(one, "/shop/echo/1")
    wait_hit(two, "/shop/echo/1")
    assert one.get("/shop/bytes/900000").content == noise(900_000)
    wait_hit(two, "/shop/bytes/900000")
    assert two.get("/shop/bytes/900000").content == noise(900_000)
    shop.fields["Vary"] = "Accept-Language"
    for headers in ({"accept-language": "de"}, {"accept-language": "fr"}):
        first = one.get("/shop/echo/varied", headers=headers)
        wait_same(two, "/shop/echo/varied", headers, first.content)
    assert two.admin("DELETE", "/v1/cache?api=shop").json()["purged"] == 4
    assert not is_hit(one, "/shop/echo/1")


def test_what_one_has_changed_the_other_forgets(one: Sidecar, two: Sidecar, shop: Vendor) -> None:
    """An unsafe call makes unsure what any of them would have shown."""
    assert not is_hit(one, "/shop/echo/changed")
    wait_hit(two, "/shop/echo/changed")
    assert two.post("/shop/echo/changed", content=b"new").status_code == 200
    assert not is_hit(one, "/shop/echo/changed")


def test_one_callers_answer_is_never_anothers(one: Sidecar, two: Sidecar, store: RedisServer) -> None:
    """Credentials are part of the key, on the server as in memory, and they are not to be read there."""
    for sidecar in (one, two):
        for token in ("first-secret", "second-secret"):
            answer = sidecar.get("/shop/echo/me", headers={"authorization": f"Bearer {token}"})
            assert f'"Bearer {token}"' in answer.text
    assert all(b"secret" not in key for key in store.ask("KEYS", "*"))


# --- away and back ------------------------------------------------------------------------------------------


@contextmanager
def readers(sidecar: Sidecar) -> Iterator[Reading]:
    """Twenty agents that read two hundred paths through all that happens; afterwards none has anything to complain."""
    with Reading("127.0.0.1", sidecar.ports["agent"], "/shop/echo", workers=20, prefix="/shop") as reading:
        yield reading
    assert reading.lost == []
    assert reading.wrong == []
    assert set(reading.answers) == {200}


def test_a_server_that_is_killed_in_mid_traffic_costs_no_call(
    sidecar: Sidecar, vendor: Vendor, redis_server: RedisServer
) -> None:
    """While it is away reads are the vendor's; it comes back with its data, and later without: no answer is wrong."""
    vendor.fields = {"Cache-Control": "max-age=5"}
    with readers(sidecar) as reading:
        for keeps in (True, False):
            sidecar.wait_value(1, UP, name="shared")
            wait_hits(sidecar)
            redis_server.kill()
            notice(sidecar, up=False)
            hits, errors = sidecar.value(RESULTS, result="hit"), sidecar.value(ERRORS)
            reading.more(500)
            assert sidecar.value(RESULTS, result="hit") == hits
            assert sidecar.value(ERRORS, store="shared", mode="open") >= errors + 500
            if not keeps:
                shutil.rmtree(redis_server.folder / "appendonlydir")
            redis_server.start()
            notice(sidecar, up=True)
            wait_hits(sidecar)


def test_a_server_that_is_paused_is_waited_for_once(
    sidecar: Sidecar, vendor: Vendor, redis_server: RedisServer
) -> None:
    """The operations under way wait for their limit; all that follow fail at once, until it answers again."""
    with readers(sidecar) as reading:
        for _ in range(2):
            redis_server.pause()
            notice(sidecar, up=False)
            falls, errors = sidecar.lines("store down"), sidecar.value(ERRORS)
            reading.more(1000)
            assert sidecar.value(ERRORS) - errors >= 1000
            assert sidecar.lines("store down") == falls
            assert falls[-1]["why"] == "no answer in 100 ms"
            redis_server.resume()
            notice(sidecar, up=True)
            wait_hits(sidecar)


def test_while_the_server_is_away_identical_reads_are_still_one_call(
    sidecar: Sidecar, vendor: Vendor, redis_server: RedisServer
) -> None:
    """Coalescing needs no store."""
    redis_server.kill()
    notice(sidecar, up=False)
    vendor.forget()
    vendor.hold()
    with Crowd(sidecar, 100) as crowd:
        crowd.ask("/shop/bytes/1000")
        sidecar.wait_value(100, "backstay_inflight_requests")
        vendor.release()
        assert {(got.status, got.body) for got in crowd.answers()} == {(200, noise(1000))}
    assert len(vendor.calls) == 1


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_what_was_changed_while_the_server_was_away_does_not_come_back(
    pair: tuple[Sidecar, Sidecar], vendor: Vendor, redis_server: RedisServer, how: str
) -> None:
    """The old answers are deleted before the store counts as up again, for whoever asks then."""
    one, two = pair
    vendor.fields["X-Version"] = "old"
    for path in ("/shop/echo/1", "/shop/echo/2"):
        assert not is_hit(one, path)
        wait_hit(two, path)
    redis_server.pause() if how == "paused" else redis_server.kill()
    notice(one, up=False)
    vendor.fields["X-Version"] = "new"
    assert one.post("/shop/echo/1", content=b"new").status_code == 200
    redis_server.resume() if how == "paused" else redis_server.start()
    notice(one, up=True)
    for sidecar in (two, one, two):
        assert sidecar.get("/shop/echo/1").headers["x-version"] == "new"
    wait_hit(one, "/shop/echo/2")


def test_a_server_that_was_never_there(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """The sidecar starts, is ready, serves, and takes the server into use when it comes."""
    vendor.fields = dict(FRESH)
    with closed_port() as port:
        sidecar = start(sharing(vendor, f"redis://127.0.0.1:{port}/0"))
        assert sidecar.get("/readyz", "metrics").status_code == 200
        assert not is_hit(sidecar, "/shop/echo/1")
        notice(sidecar, up=False)
    server = RedisServer(tmp_path)
    server.port = port
    try:
        server.start()
        notice(sidecar, up=True)
        assert not is_hit(sidecar, "/shop/echo/2")
        wait_hit(sidecar, "/shop/echo/2")
    finally:
        server.kill()


def test_a_cache_moves_to_the_server_and_back_by_reload(
    start: Start, vendor: Vendor, redis_server: RedisServer, tmp_path: Path
) -> None:
    """No call is lost on the way; what memory had is there again afterwards."""
    vendor.fields = dict(FRESH)
    file = tmp_path / "backstay.yaml"
    sidecar = start(sharing(vendor, redis_server.url, store="memory"))
    assert [is_hit(sidecar, "/shop/echo/own") for _ in range(2)] == [False, True]
    assert UP not in sidecar.get("/metrics", "metrics").text.replace("# ", "")
    with readers(sidecar) as reading:
        for store, first in (("shared", False), ("memory", True), ("shared", None)):
            write(file, sharing(vendor, redis_server.url, store=store))
            assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
            assert first in {None, is_hit(sidecar, "/shop/echo/own")}
            wait_hit(sidecar, "/shop/echo/own")
            reading.more(500)
    assert "Traceback" not in sidecar.transcript()
