"""Cached answers as real agents get them, and what a reload and a SIGTERM do to them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
import requests

from tests.e2e.conftest import Start
from tests.support.crowd import Crowd, all_wait, encode, read_answer
from tests.support.process import PATIENCE, Document, Sidecar, document, wait_until, write
from tests.support.vendor import COMPRESSED, Vendor, noise

FRESH: Final = {"Cache-Control": "max-age=3600", "ETag": '"v1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def caching(vendor: Vendor, **cache: Any) -> Document:
    return document({"shop": {"url": vendor.url, "cache": cache}})


# --- real clients -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        vendor.fields = dict(FRESH)
        yield vendor


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, share: Start) -> Sidecar:
    return share(caching(shop))


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor) -> None:
    shop.forget()


def test_requests_reads_on_one_connection(sidecar: Sidecar, shop: Vendor) -> None:
    """Hits of all shapes come one after the other, each with its own body and no rest of the one before."""
    paths = {"/shop/v1/models": None, "/shop/bytes/200000": noise(200_000), "/shop/bytes/0": b""}
    with requests.Session() as session:
        session.trust_env = False
        first = {path: session.get(sidecar.url(path), timeout=PATIENCE).content for path in paths}
        for _ in range(3):
            for path, body in paths.items():
                answer = session.get(sidecar.url(path), timeout=PATIENCE)
                assert answer.headers["backstay-outcome"] == "hit"
                assert answer.content == (first[path] if body is None else body)
                assert int(answer.headers["age"]) >= 0
                head = session.head(sidecar.url(path), timeout=PATIENCE)
                assert head.headers["content-length"] == str(len(answer.content))
    assert [call.method for call in shop.calls] == ["GET"] * len(paths)


async def test_httpx_reads_what_is_compressed(sidecar: Sidecar, shop: Vendor) -> None:
    """What is kept is what came; the client unpacks a hit as it would the vendor's own."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        texts = [(await client.get(sidecar.url("/shop/gzip"))).text for _ in range(3)]
        async with client.stream("GET", sidecar.url("/shop/gzip")) as answer:
            assert b"".join([piece async for piece in answer.aiter_raw()]) == COMPRESSED
    assert set(texts) == {"squeezed " * 500}
    assert len(shop.calls) == 1


def test_the_openai_sdk_lists_the_models(sidecar: Sidecar, shop: Vendor) -> None:
    """The list is fetched once for each key; what the SDK posts is not cached."""
    for _ in range(2):
        for key in ("sk-first", "sk-second"):
            with openai.OpenAI(base_url=sidecar.url("/shop/v1"), api_key=key, max_retries=0) as client:
                assert [model.id for model in client.models.list()] == ["small", "large"]
                completion = client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hi"}])
                assert completion.choices[0].message.content == "Hello there, agent"
    listed = [call.header("authorization") for call in shop.calls if call.method == "GET"]
    assert listed == ["Bearer sk-first", "Bearer sk-second"]
    assert len(shop.calls) == 2 + 4


def curl(sidecar: Sidecar, path: str, *arguments: str) -> tuple[int, bytes, bytes]:
    """Status, head and body of what curl gets."""
    if shutil.which("curl") is None:
        pytest.skip("curl is NOT INSTALLED: the commonest client of all goes untested here")
    command = ["curl", "-sS", "--noproxy", "*", "-i", *arguments, sidecar.url(path)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


def test_curl_asks_only_for_what_it_has_not(sidecar: Sidecar, shop: Vendor) -> None:
    """Conditions and ranges are answered out of the stored answer, and the vendor is not asked."""
    path = "/shop/bytes/100000"
    assert curl(sidecar, path)[2] == noise(100_000)
    status, head, body = curl(sidecar, path, "-H", 'If-None-Match: "v0", W/"v1"')
    assert (status, body) == (304, b"")
    assert b'etag: "v1"' in head
    assert b"content-length" not in head
    assert curl(sidecar, path, "-H", 'If-None-Match: "v0"')[2] == noise(100_000)
    assert curl(sidecar, path, "-H", "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT")[0] == 304
    status, head, body = curl(sidecar, path, "-r", "1000-69999")
    assert (status, body) == (206, noise(100_000)[1000:70_000])
    assert b"content-range: bytes 1000-69999/100000" in head
    assert curl(sidecar, path, "-r", "-10")[2] == noise(100_000)[-10:]
    assert curl(sidecar, path, "-r", "100000-")[0] == 416
    assert curl(sidecar, path, "-r", "0-9", "-H", 'If-Range: "v0"')[2] == noise(100_000)
    assert len(shop.calls) == 1


def test_curl_resumes_a_download_that_is_not_cached_yet(sidecar: Sidecar, shop: Vendor) -> None:
    """A range of what is not stored goes to the vendor as it is; the whole answer that comes is the agent's."""
    assert curl(sidecar, "/shop/bytes/70000", "-r", "100-199")[:1] == (200,)
    assert [call.header("range") for call in shop.calls] == ["bytes=100-199"]


# --- reloads ------------------------------------------------------------------------------------------------


def outcome(connection: httpx.Client, url: str) -> str:
    answer = connection.get(url)
    assert answer.status_code == 200
    return str(answer.headers.get("backstay-outcome", ""))


def test_a_reload_keeps_what_is_stored_and_closes_nothing(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """A new ttl holds from the next read on, for old answers too; the agent's connection stays."""
    sidecar = start(caching(vendor, mode="ttl", ttl="1h"))
    url = sidecar.url("/shop/v1/models")  # sets no cookie, which would be another credential
    with httpx.Client(timeout=PATIENCE, verify=False) as agent:
        assert [outcome(agent, url) for _ in range(2)] == ["", "hit"]
        for ttl, expected in (("2h", "hit"), ("1ms", ""), ("1h", "hit")):
            settings = {"mode": "ttl", "ttl": ttl, "stale_while_revalidate": "off"}
            write(tmp_path / "backstay.yaml", caching(vendor, **settings))
            assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
            assert outcome(agent, url) == expected
    assert len(vendor.calls) == 2
    assert sidecar.value("backstay_cache_requests_total", result="hit") == 3


def test_a_cache_that_is_switched_off_and_on_again(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """Nothing is served from it while it is off."""
    file = tmp_path / "backstay.yaml"
    sidecar = start(caching(vendor, mode="ttl", ttl="1h"))
    assert sidecar.get("/shop/echo/1").status_code == 200
    write(file, document({"shop": {"url": vendor.url}}))
    sidecar.admin("POST", "/v1/reload")
    answer = sidecar.get("/shop/echo/1")
    assert "backstay-outcome" not in answer.headers
    assert "cache-status" not in answer.headers
    assert len(vendor.calls) == 2
    write(file, caching(vendor, mode="ttl", ttl="1h"))
    sidecar.admin("POST", "/v1/reload")
    assert sidecar.get("/shop/echo/1").headers["backstay-outcome"] == "hit"


def test_what_is_under_way_outlives_a_reload(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """Callers of the old and of the new configuration wait for the same call, and its answer is stored."""
    sidecar = start(caching(vendor, mode="ttl", ttl="1h"))
    vendor.hold()
    with Crowd(sidecar, 5) as before, Crowd(sidecar, 5) as after:
        before.ask("/shop/bytes/90000")
        all_wait(sidecar, 5)
        write(tmp_path / "backstay.yaml", caching(vendor, mode="ttl", ttl="2h"))
        assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
        after.ask("/shop/bytes/90000")
        all_wait(sidecar, 10)
        vendor.release()
        answers = before.answers() + after.answers()
    assert {got.body for got in answers} == {noise(90_000)}
    assert sidecar.get("/shop/bytes/90000").headers["backstay-outcome"] == "hit"
    assert len(vendor.calls) == 1


def test_an_api_that_moves_serves_nothing_of_its_old_address(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """What another upstream said is no answer of this one, though the api has the same name."""
    sidecar = start(caching(vendor, mode="ttl", ttl="1h"))
    assert sidecar.get("/shop/echo/1").status_code == 200
    with Vendor() as other:
        write(tmp_path / "backstay.yaml", caching(other, mode="ttl", ttl="1h"))
        assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
        assert "backstay-outcome" not in sidecar.get("/shop/echo/1").headers
        assert len(other.calls) == 1


# --- the end ------------------------------------------------------------------------------------------------


def test_sigterm_while_many_wait_for_one(start: Start, vendor: Vendor) -> None:
    """Each of them gets the answer, and then the process ends, though the leader's agent is gone."""
    sidecar = start(caching(vendor, mode="ttl", ttl="1h"))
    vendor.hold()
    with Crowd(sidecar, 1) as leader, Crowd(sidecar, 50) as crowd:
        leader.ask("/shop/bytes/90000")
        wait_until(lambda: vendor.calls, "the call arriving")
        crowd.ask("/shop/bytes/90000")
        all_wait(sidecar, 51)
        sidecar.terminate()
        sidecar.wait_log("draining")
        leader.leave()
        all_wait(sidecar, 50)
        vendor.release()
        answers = crowd.answers()
        assert {(got.status, got.body, got.field("Connection")) for got in answers} == {(200, noise(90_000), "close")}
        assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0
    assert len(vendor.calls) == 1


def test_a_refresh_that_nobody_waits_for_holds_no_exit_up(start: Start, vendor: Vendor) -> None:
    """The agent has its answer, a stale one: the call behind its back may die with the process."""
    sidecar = start({**caching(vendor), "drain": {"timeout": "60s"}})
    vendor.fields = {"Cache-Control": "max-age=60, stale-while-revalidate=600", "Age": "61"}
    assert sidecar.get("/shop/echo/1").status_code == 200
    vendor.hold()
    with sidecar.connect() as agent:
        agent.sendall(encode("/shop/echo/1"))
        assert read_answer(agent).outcome == "stale"
        wait_until(lambda: len(vendor.calls) == 2, "the refresh")
        sidecar.terminate()
        assert sidecar.wait() == 0
    wait_until(lambda: vendor.seen("gone"), "the vendor noticing")
    assert not [line for line in sidecar.log if line["level"] == "error"]
