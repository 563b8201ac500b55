"""What an agent gets in place of an error, over real connections: old, from elsewhere, the operator's own, or that."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import encode, read_answer
from tests.support.process import PATIENCE, Sidecar, closed_port, document
from tests.support.vendor import Vendor, noise

FALLBACKS: Final = "backstay_fallbacks_total"
SORRY: Final = {
    "status": 200,
    "headers": {"X-Source": "operator of ${api}"},
    "body": '{"degraded": true, "why": "${reason}", "wait": ${retry_after}}',
}
SPARE: Final = {"api": "spare"}


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def other() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, other: Vendor, share: Start) -> Iterator[Sidecar]:
    at_shop: dict[str, Any] = {"url": shop.url, "breaker": False}
    broken = {"consecutive": 1, "open": "60s"}
    limit = {"rate": "1/h", "burst": 1}
    old = {"stale_if_error": "off"}
    with closed_port() as port:
        apis: dict[str, dict[str, Any]] = {
            "spare": {"url": other.url, "breaker": False},
            "shop": {**at_shop, "timeout": {"first_byte": "300ms"}, "fallback": [SPARE]},
            "guarded": {**at_shop, "breaker": broken, "fallback": [SPARE]},
            "nowhere": {"url": f"http://127.0.0.1:{port}", "breaker": False, "fallback": [SPARE]},
            "safe": {**at_shop, "retry": {"attempts": 1, "safe": True}, "fallback": [SPARE]},
            "sorry": {**at_shop, "fallback": [SORRY]},
            "both": {**at_shop, "fallback": [SPARE, SORRY]},
            "limited": {**at_shop, "rate_limit": {**limit, "fallback": True}, "fallback": [SORRY]},
            "strict": {**at_shop, "rate_limit": limit, "fallback": [SORRY]},
            "cached": {**at_shop, "cache": {}, "fallback": [SPARE, "stale"]},
            "unwilling": {**at_shop, "cache": old, "fallback": [SPARE, "stale", SORRY]},
            "chained": {**at_shop, "fallback": [{"api": "cached-spare"}]},
            "cached-spare": {"url": other.url, "breaker": False, "cache": {}, "fallback": [SORRY]},
        }
        yield share(document(apis, log={"access": "all"}))


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor, other: Vendor) -> None:
    for vendor in (shop, other):
        vendor.mode, vendor.fields = "well", {"Connection": "close"}  # so that a reset is one, and no old goodbye
        vendor.forget()


def kinds(sidecar: Sidecar, api: str) -> Counter[str]:
    """How often each kind of fallback was used for an api."""
    return sidecar.values(FALLBACKS, "kind", api=api)


def gained(sidecar: Sidecar, api: str, before: Counter[str]) -> Counter[str]:
    return kinds(sidecar, api) - before


# --- another api --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["failing", "resetting", "hanging", "nowhere"])
def test_a_read_is_answered_elsewhere(sidecar: Sidecar, shop: Vendor, other: Vendor, trouble: str) -> None:
    """Whatever was wrong: the other api gets the same call, once, and its answer is marked."""
    api, shop.mode = ("nowhere", "well") if trouble == "nowhere" else ("shop", trouble)
    before = kinds(sidecar, api)
    answer = sidecar.get(f"/{api}/echo/a?q=1", headers={"x-own": "1"})
    assert (answer.status_code, answer.headers["backstay-outcome"]) == (200, "fallback")
    assert answer.json()["target"] == "/echo/a?q=1"
    assert [call.header("x-own") for call in other.calls] == ["1"]
    assert len(shop.calls) == (api == "shop")
    assert gained(sidecar, api, before) == {"api": 1}


def test_an_open_circuit_leads_elsewhere_at_once(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """The vendor that is ill is spared, and the agent served."""
    shop.mode = "failing"
    for _ in range(5):
        assert sidecar.get("/guarded/echo/a").headers["backstay-outcome"] == "fallback"
    assert (len(shop.calls), len(other.calls)) == (1, 5)
    [line] = [line for line in sidecar.lines("access") if line["api"] == "guarded"][-1:]
    assert (line["outcome"], line["reason"], line["attempts"]) == ("fallback", "circuit_open", 1)


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_declared_safe_is_sent_again_with_its_body(
    sidecar: Sidecar, shop: Vendor, other: Vendor, chunked: bool
) -> None:
    """Both vendors get the whole of it, whether it came at once or in pieces."""
    shop.mode = "failing"
    body = noise(50_000)
    pieces = (body[start : start + 7_000] for start in range(0, len(body), 7_000))
    answer = sidecar.post("/safe/echo/a", content=pieces if chunked else body)
    assert (answer.status_code, answer.headers["backstay-outcome"]) == (200, "fallback")
    assert [call.body for call in (*shop.calls, *other.calls)] == [body, body]


def test_a_body_that_is_not_at_hand_any_more_is_not_sent_again(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """It was too large to be kept: half a body is worse than an error."""
    shop.mode = "failing"
    answer = sidecar.post("/safe/echo/a", content=(noise(20_000) for _ in range(20)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "503")
    assert len(shop.calls[0].body) == 400_000
    assert not other.calls


def test_a_write_that_may_have_been_done_is_not_sent_again(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """Its bytes have left: the agent gets what the vendor said of it, or that nobody knows."""
    before = kinds(sidecar, "shop")
    shop.mode = "failing"
    answer = sidecar.post("/shop/echo/a", content=b"order")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "503")
    shop.mode = "resetting"
    answer = sidecar.post("/shop/echo/a", content=b"order")
    assert (answer.status_code, answer.json()["reason"]) == (502, "reset")
    assert "not known whether" in answer.json()["advice"]
    assert not other.calls
    assert gained(sidecar, "shop", before) == {"none": 2}


def test_a_write_that_was_never_sent_may_go_elsewhere(sidecar: Sidecar, other: Vendor) -> None:
    """Nobody took the connection: not a byte of it can have been read."""
    answer = sidecar.post("/nowhere/echo/a", content=b"order")
    assert (answer.status_code, answer.headers["backstay-outcome"]) == (200, "fallback")
    assert [call.body for call in other.calls] == [b"order"]


def test_the_vendors_own_error_passes_as_it_came(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """Where the other api can do nothing either, the agent is told what its own vendor said."""
    shop.mode, other.mode = "failing", "throttling"
    shop.fields["Retry-After"] = "7"
    answer = sidecar.get("/shop/status/503")
    direct = httpx.get(f"{shop.url}/status/503")
    assert (answer.status_code, answer.content) == (503, direct.content)
    assert (answer.headers["x-vendor"], answer.headers["retry-after"]) == ("failure", "7")
    assert "backstay-outcome" not in answer.headers
    assert len(other.calls) == 1


def test_a_chain_of_apis_ends_in_the_last_ones_answer(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """The other api has its own policies: its stale answer is known to be old, and then its own words."""
    shop.mode = "failing"
    other.fields |= {"Cache-Control": "max-age=60", "Age": "100"}
    assert sidecar.get("/chained/echo/a").headers["backstay-outcome"] == "fallback"
    other.mode = "failing"
    answer = sidecar.get("/chained/echo/a")
    assert (answer.headers["backstay-outcome"], answer.json()["target"]) == ("stale", "/echo/a")
    answer = sidecar.get("/chained/echo/b")
    assert (answer.headers["backstay-outcome"], answer.json()["degraded"]) == ("fallback", True)
    assert answer.headers["x-source"] == "operator of cached-spare"


def test_what_has_begun_is_not_replaced(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """Of a good answer that breaks off, the agent has the beginning."""
    with pytest.raises(httpx.RemoteProtocolError):
        sidecar.get("/both/cut/100000")
    assert not other.calls


@pytest.mark.parametrize("expects", [False, True])
def test_an_upload_that_was_refused_half_way_goes_on_elsewhere(start: Start, other: Vendor, expects: bool) -> None:
    """The other api gets all of it: what the vendor has read, and what the agent sends from then on."""
    fields = ["Content-Length: 2000", *["Expect: 100-continue"] * expects]
    first = b"" if expects else b"x" * 1000
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse_half_way, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        early = {"url": url, "retry": {"attempts": 1, "safe": True}, "fallback": [SPARE]}
        sidecar = start(document({"early": early, "spare": {"url": other.url}}))
        with sidecar.connect() as agent:
            agent.sendall(encode("/early/echo", fields, "POST") + first)
            thread.join(PATIENCE)
            if expects:
                assert agent.recv(100).startswith(b"HTTP/1.1 100")
            agent.sendall(b"x" * (2000 - len(first)))
            answer = read_answer(agent)
    assert (answer.status, answer.outcome) == (200, "fallback")
    assert [call.body for call in other.calls] == [b"x" * 2000]


def refuse_half_way(server: socket.socket) -> None:
    """A vendor that answers before it has read all."""
    server.settimeout(PATIENCE)
    connection, _ = server.accept()
    with connection:
        connection.settimeout(PATIENCE)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")


# --- the operator's own -------------------------------------------------------------------------------------


def test_the_operators_own_answer(sidecar: Sidecar, shop: Vendor) -> None:
    """Its templates are filled in, it is marked, and the vendor's error is seen by nobody but the metrics."""
    before = kinds(sidecar, "sorry")
    shop.mode = "failing"
    shop.fields["Retry-After"] = "9"
    answer = sidecar.get("/sorry/echo")
    assert (answer.status_code, answer.json()) == (200, {"degraded": True, "why": "503", "wait": 9})
    assert (answer.headers["x-source"], answer.headers["backstay-outcome"]) == ("operator of sorry", "fallback")
    assert answer.headers["content-type"] == "application/json"
    assert "x-vendor" not in answer.headers
    assert gained(sidecar, "sorry", before) == {"static": 1}
    assert sidecar.post("/sorry/echo", content=b"order").json()["degraded"] is True


def test_it_comes_last(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """First the other api, where that is allowed."""
    before = kinds(sidecar, "both")
    shop.mode = "failing"
    assert sidecar.get("/both/echo").json()["target"] == "/echo"
    assert sidecar.post("/both/echo", content=b"order").json()["degraded"] is True
    other.mode = "failing"
    assert sidecar.get("/both/echo").json()["degraded"] is True
    assert gained(sidecar, "both", before) == {"api": 1, "static": 2}


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_what_is_no_failure_is_not_replaced(sidecar: Sidecar, shop: Vendor, status: int) -> None:
    """The vendor is well, and has said what it has to say to the agent."""
    before = kinds(sidecar, "both")
    assert sidecar.get(f"/both/status/{status}").json()["error"]["code"] == str(status)
    assert gained(sidecar, "both", before) == {}


def test_our_own_limit_is_told_unless_the_route_says_otherwise(sidecar: Sidecar) -> None:
    """An agent that calls too often is to know it; with rate_limit.fallback, it is served something instead."""
    assert sidecar.get("/limited/echo").json()["target"] == "/echo"
    assert sidecar.get("/limited/echo").json()["why"] == "rate_limited"
    assert sidecar.get("/strict/echo").json()["target"] == "/echo"
    answer = sidecar.get("/strict/echo")
    assert (answer.status_code, answer.json()["reason"]) == (429, "rate_limited")


def test_what_the_agent_did_wrong_is_told(sidecar: Sidecar) -> None:
    """A good answer would hide the fault from the one who can mend it."""
    with sidecar.connect() as agent:
        agent.sendall(b"POST /both/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        answer = read_answer(agent)
    assert (answer.status, answer.outcome) == (400, "bad_request")


# --- what the cache has -------------------------------------------------------------------------------------


def test_a_stale_answer_comes_before_everything(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """The cache may serve it unasked: no other api is called, wherever the list has it."""
    before = kinds(sidecar, "cached")
    shop.fields |= {"Cache-Control": "max-age=60", "Age": "100"}
    good = sidecar.get("/cached/echo/a")
    for shop.mode in ("failing", "resetting"):
        answer = sidecar.get("/cached/echo/a")
        assert (answer.headers["backstay-outcome"], answer.content) == ("stale", good.content)
        assert "ttl=-4" in answer.headers["cache-status"]
    assert not other.calls
    assert gained(sidecar, "cached", before) == {"stale": 2}
    assert sidecar.get("/cached/echo/never-seen").headers["backstay-outcome"] == "fallback"


def test_a_stale_answer_on_demand_has_its_place_in_the_list(sidecar: Sidecar, shop: Vendor, other: Vendor) -> None:
    """Without stale_if_error the other api comes first, then the old answer, then the operator's words."""
    before = kinds(sidecar, "unwilling")
    shop.fields |= {"Cache-Control": "max-age=60", "Age": "100", "ETag": '"1"'}
    good = sidecar.get("/unwilling/echo/a")
    shop.mode = "failing"
    assert sidecar.get("/unwilling/echo/a").headers["backstay-outcome"] == "fallback"
    other.mode = "failing"
    answer = sidecar.get("/unwilling/echo/a")
    assert (answer.headers["backstay-outcome"], answer.content) == ("stale", good.content)
    assert sidecar.get("/unwilling/echo/b").json()["degraded"] is True
    assert gained(sidecar, "unwilling", before) == {"api": 1, "stale": 1, "static": 1}


def test_every_answer_in_place_of_another_is_counted_as_what_it_is(sidecar: Sidecar, shop: Vendor) -> None:
    """Requests by outcome: what was degraded can be told from what was not."""
    before = sidecar.values("backstay_requests_total", "outcome")
    shop.fields |= {"Cache-Control": "max-age=60", "Age": "100"}
    sidecar.get("/cached/echo/counted")
    shop.mode = "failing"
    sidecar.get("/cached/echo/counted")
    sidecar.get("/sorry/echo")
    gains = sidecar.values("backstay_requests_total", "outcome") - before
    assert gains == {"forwarded": 1, "stale": 1, "fallback": 1}
