"""Answers that are stored while they pass: nobody waits for the store, for a slow reader, or for one who has left."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import Crowd, Got, all_wait, encode, read_answer
from tests.support.process import PATIENCE, Sidecar, document, wait_until
from tests.support.vendor import Vendor, noise

MIB: Final = 1024 * 1024
KIB: Final = 1024
HITS: Final = "backstay_cache_requests_total"
LARGE: Final = 8 * MIB  # more than the kernel's buffers hold between two processes


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, share: Start) -> Sidecar:
    shopping = {"url": shop.url, "breaker": False, "cache": {}}
    wide = {**shopping, "cache": {"max_object": "16MiB"}}
    running = share(document({"shop": shopping, "wide": wide}, log={"access": False}))
    running.get("/shop/bytes/100000")  # what a first call allocates stays
    return running


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor) -> Iterator[None]:
    shop.forget()
    shop.fields = {"Cache-Control": "max-age=60"}
    yield
    shop.release()


def get(sidecar: Sidecar, path: str) -> Got:
    """An answer, which may break off."""
    with sidecar.connect() as connection:
        connection.sendall(encode(path))
        return read_answer(connection)


def hit(sidecar: Sidecar, path: str) -> Got:
    """The answer, once it is stored: which is after the agent has it, but before the next one asks."""
    got = get(sidecar, path)
    assert got.outcome == "hit"
    return got


# --- as it comes --------------------------------------------------------------------------------------------


def test_events_arrive_while_they_are_stored(sidecar: Sidecar, shop: Vendor) -> None:
    """Each reaches the agent before the vendor sends the next; later the whole stream is a hit."""
    with httpx.stream("GET", sidecar.url("/shop/events/3"), timeout=PATIENCE) as answer:
        pieces = answer.iter_raw()
        for number in range(3):
            shop.allow()
            assert next(pieces) == b"data: event %d\n\n" % number
        assert b"".join(pieces) == b""
    assert hit(sidecar, "/shop/events/3").body == b"".join(b"data: event %d\n\n" % number for number in range(3))
    assert len(shop.calls) == 1


def test_a_large_chunked_answer_arrives_while_it_is_stored(sidecar: Sidecar, shop: Vendor) -> None:
    """Its beginning is there before the vendor sends the second piece; the hit has the same bytes, and a length."""
    size = 640 * KIB
    with httpx.stream("GET", sidecar.url("/shop/pieces/10"), timeout=PATIENCE) as answer:
        pieces = answer.iter_raw()
        shop.allow()
        first = next(pieces)
        assert shop.calls[0].sent <= 64 * KIB
        shop.allow(9)
        assert first + b"".join(pieces) == noise(size)
    stored = hit(sidecar, "/shop/pieces/10")
    assert (stored.body, stored.field("Content-Length")) == (noise(size), str(size))
    assert len(shop.calls) == 1


# --- readers ------------------------------------------------------------------------------------------------


def test_a_slow_reader_stalls_nobody(sidecar: Sidecar, shop: Vendor) -> None:
    """The one for whom the call was made reads nothing; those who follow get all, and in the end that one too."""
    path = f"/wide/bytes/{LARGE}"
    with sidecar.connect(receive_buffer=4096) as slow, Crowd(sidecar, 3) as crowd:
        shop.hold()
        slow.sendall(encode(path))
        wait_until(lambda: shop.calls, "the call arriving")
        crowd.ask(path)
        all_wait(sidecar, 4)
        shop.release()
        assert {(got.outcome, got.body) for got in crowd.answers()} == {("coalesced", noise(LARGE))}
        assert hit(sidecar, path).body == noise(LARGE)
        assert sidecar.value("backstay_inflight_requests") == 1
        assert read_answer(slow).body == noise(LARGE)
    assert len(shop.calls) == 1


def test_an_agent_that_leaves_in_mid_stream_takes_nobody_along(sidecar: Sidecar, shop: Vendor) -> None:
    """Those who wait for the whole get it, and it is stored."""
    with sidecar.connect() as leader, Crowd(sidecar, 3) as crowd:
        leader.sendall(encode("/shop/pieces/4"))
        wait_until(lambda: shop.calls, "the call arriving")
        crowd.ask("/shop/pieces/4")
        all_wait(sidecar, 4)
        shop.allow()
        assert leader.recv(100).startswith(b"HTTP/1.1 200")
        leader.close()
        all_wait(sidecar, 3)
        shop.allow(3)
        assert {(got.outcome, got.body) for got in crowd.answers()} == {("coalesced", noise(256 * KIB))}
    assert len(hit(sidecar, "/shop/pieces/4").body) == 256 * KIB
    assert len(shop.calls) == 1


def test_a_stream_that_nobody_reads_any_more_ends(sidecar: Sidecar, shop: Vendor) -> None:
    """The vendor notices that its only reader has left, and half an answer is not stored."""
    with sidecar.connect() as leader:
        leader.sendall(encode("/shop/pieces/5"))
        shop.allow()
        assert leader.recv(100).startswith(b"HTTP/1.1 200")
    wait_until(lambda: shop.seen("gone"), "the vendor noticing")
    shop.allow(5)
    assert get(sidecar, "/shop/pieces/5").body == noise(320 * KIB)
    assert len(shop.calls) == 2


# --- endings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100_000, 3 * MIB])
@pytest.mark.parametrize("how", ["cut", "cut-chunked"])
def test_a_body_that_breaks_off_is_not_stored(sidecar: Sidecar, shop: Vendor, how: str, size: int) -> None:
    """The agent can tell that it has not all of it; who has waited for the whole is told why there is none."""
    path = f"/shop/{how}/{size}"
    shop.hold()
    with Crowd(sidecar, 1) as leader, Crowd(sidecar, 5) as crowd:
        leader.ask(path)
        wait_until(lambda: shop.calls, "the call arriving")
        crowd.ask(path)
        all_wait(sidecar, 6)
        shop.release()
        [broken] = leader.answers()
        assert (broken.status, broken.whole) == (200, False)
        others = {(got.status, got.outcome, got.whole) for got in crowd.answers()}
        if size > MIB:  # they went by themselves before it broke off
            assert others == {(200, "", False)}
        else:
            assert others == {(502, "reset", True)}
            assert len(shop.calls) == 1
    shop.forget()
    assert not get(sidecar, path).whole
    assert len(shop.calls) == 1


@pytest.mark.parametrize("path", [f"/shop/bytes/{2 * MIB}", "/shop/pieces/20"])
def test_what_is_too_large_passes_and_is_not_stored(sidecar: Sidecar, shop: Vendor, path: str) -> None:
    """Whether its length is announced or shows as it comes: each who asks gets all of it, from a call of their own."""
    shop.allow(5 * 20 if "pieces" in path else 0)
    shop.hold()
    with Crowd(sidecar, 4) as crowd:
        crowd.ask(path)
        all_wait(sidecar, 4)
        shop.release()
        answers = crowd.answers()
    answers.append(get(sidecar, path))
    assert len({got.body for got in answers}) == 1
    assert {got.whole for got in answers} == {True}
    assert {got.outcome for got in answers} == {""}
    assert len(answers[0].body) > MIB
    assert len(shop.calls) == 5


# --- memory -------------------------------------------------------------------------------------------------


def digest(connection: socket.socket) -> str:
    return hashlib.sha256(read_answer(connection).body).hexdigest()


@pytest.mark.parametrize(("count", "size"), [(1000, MIB), (50, LARGE)], ids=["kernel-takes-it", "kernel-is-full"])
def test_slow_readers_of_a_hit_share_one_copy(sidecar: Sidecar, count: int, size: int) -> None:
    """What they have not taken is not held for each of them."""
    path = f"/wide/bytes/{size}"
    assert get(sidecar, path).status == 200
    known = sidecar.value(HITS, result="hit")
    before = sidecar.forget_peak()
    with Crowd(sidecar, count, receive_buffer=4096) as crowd:
        crowd.ask(path)
        sidecar.wait_value(known + count, HITS, result="hit")
        assert sidecar.memory("VmHWM") - before < 100 * MIB
        expected = hashlib.sha256(noise(size)).hexdigest()
        assert {digest(agent) for agent in crowd.agents[:20]} == {expected}
        assert sidecar.memory("VmHWM") - before < 100 * MIB
    all_wait(sidecar, 0)
