"""Calls of real clients pass unchanged, whatever the client, the vendor's scheme and the shape of the body."""

from __future__ import annotations

import gzip
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import requests
import stripe
import trustme

from tests.e2e.conftest import Start
from tests.support.process import PATIENCE, Sidecar, document, wait_until
from tests.support.vendor import COMPRESSED, STREAMED_WORDS, Vendor, noise

API_KEY = "sk-of-the-agent"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=["http", "https"])
def shop(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[Vendor]:
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
    with Vendor(context) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, share: Start, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Sidecar:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = {} if shop.context is None else {"tls": {"ca_file": str(ca_file)}}
    return share(document({"shop": {"url": shop.url, "retry": {}, **tls}}, log={"access": "all"}))


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor) -> None:
    shop.forget()


# --- plain clients ----------------------------------------------------------------------------------------


def curl(*arguments: str) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("curl is NOT INSTALLED: the commonest client of all goes untested here")
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_curl_posts_json_and_reads_the_answer(sidecar: Sidecar, shop: Vendor) -> None:
    """Method, target with its odd escapes, own fields and body reach the vendor byte for byte."""
    url = sidecar.url("/shop/echo/a%2Fb//c?q=1%202&q=%C3%A9")
    curl("-X", "PATCH", "-H", "X-Odd-Case: VaLuE", "-H", "x-twice: 1", "-H", "x-twice: 2", "-d", '{"a": 1}', url)
    (call,) = shop.calls
    assert (call.method, call.target, call.body) == ("PATCH", "/echo/a%2Fb//c?q=1%202&q=%C3%A9", b'{"a": 1}')
    assert ("X-Odd-Case", "VaLuE") in call.headers
    assert [value for name, value in call.headers if name == "x-twice"] == ["1", "2"]
    assert call.header("host") == f"localhost:{shop.port}"


def test_curl_uploads_in_chunks_after_a_100_continue(sidecar: Sidecar, shop: Vendor, tmp_path: Path) -> None:
    """Expect: 100-continue works end to end, and a body of unknown length arrives whole."""
    file = tmp_path / "upload"
    file.write_bytes(noise(300_000))
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue")
    log = curl("-v", "--stderr", "-", "-o", "/dev/null", *chunked, "-T", str(file), sidecar.url("/shop/echo"))
    assert b"HTTP/1.1 100" in log
    assert shop.calls[0].body == noise(300_000)


def test_curl_head_of_a_large_body_ends_at_once(sidecar: Sidecar) -> None:
    """The answer to HEAD has the length of the body, and no body."""
    answer = curl("-I", sidecar.url("/shop/bytes/100000")).lower()
    assert answer.startswith(b"http/1.1 200")
    assert b"content-length: 100000" in answer


def test_requests_uploads_a_multipart_form(sidecar: Sidecar, shop: Vendor) -> None:
    """A form with a file is the same form at the vendor."""
    picture = noise(50_000)
    prepared = requests.Request(
        "POST", sidecar.url("/shop/echo"), files={"file": ("p.png", picture)}, data={"a": "1"}
    ).prepare()
    with requests.Session() as session:
        answer = session.send(prepared, timeout=PATIENCE)
    assert answer.status_code == 200
    assert shop.calls[0].body == prepared.body
    assert shop.calls[0].header("content-type") == prepared.headers["content-type"]


def test_an_answer_that_is_compressed_is_not_touched(sidecar: Sidecar) -> None:
    """The bytes on the agent's side are those that the vendor compressed."""
    with requests.get(sidecar.url("/shop/gzip"), stream=True, timeout=PATIENCE) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.raw.read(decode_content=False) == COMPRESSED
    assert httpx.get(sidecar.url("/shop/gzip")).content == gzip.decompress(COMPRESSED)


def test_a_redirect_passes_as_it_came(sidecar: Sidecar, shop: Vendor) -> None:
    """Following a redirect is the agent's business."""
    answer = httpx.get(sidecar.url("/shop/moved"))
    assert (answer.status_code, answer.headers["location"]) == (302, "/echo?moved=1")
    assert len(shop.calls) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500, 501])
def test_an_error_of_the_vendor_passes_as_it_came(sidecar: Sidecar, shop: Vendor, status: int) -> None:
    """It is the vendor's answer, not a problem of ours, and it was asked for once."""
    answer = httpx.post(sidecar.url(f"/shop/status/{status}"), json={})
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == f"the vendor says {status}"
    assert answer.headers["x-vendor"] == "failure"
    assert "backstay-outcome" not in answer.headers
    assert len(shop.calls) == 1


def test_httpx_keeps_one_connection_for_many_calls(sidecar: Sidecar, shop: Vendor) -> None:
    """Keep-alive holds on the agent's side, with and without bodies."""
    before = sidecar.value("backstay_agent_connections")
    with httpx.Client(base_url=sidecar.url("/shop")) as client:
        for number in range(20):
            assert client.get(f"/echo/{number}").json()["target"] == f"/echo/{number}"
            assert client.post("/echo", content=noise(number)).json()["method"] == "POST"
        assert sidecar.value("backstay_agent_connections") == before + 1
    assert len(shop.calls) == 40


async def test_httpx_async_streams_events_one_by_one(sidecar: Sidecar, shop: Vendor) -> None:
    """The vendor sends an event only after the agent has read the one before: a buffer in between would stall."""
    got = []
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", sidecar.url("/shop/events/5")) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        shop.allow()
        async for line in answer.aiter_lines():
            if line:
                got.append(line)
                shop.allow()
    assert got == [f"data: event {number}" for number in range(5)]


def test_an_absolute_host_of_the_api_needs_no_mount(sidecar: Sidecar, shop: Vendor) -> None:
    """A Host that names the api is enough."""
    answer = httpx.get(sidecar.url("/echo"), headers={"host": f"localhost:{shop.port}"})
    assert answer.json()["target"] == "/echo"


def test_what_no_api_serves_is_a_problem(sidecar: Sidecar, shop: Vendor) -> None:
    """A 404 of ours says so, and names what there is."""
    answer = httpx.get(sidecar.url("/nowhere"))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["reason"] == "no_api"
    assert "/shop" in answer.json()["detail"]
    assert not shop.calls


def test_the_access_log_has_a_line_for_each_call(sidecar: Sidecar) -> None:
    """With access: all, a call is one line that names it, without its query."""
    httpx.get(sidecar.url("/shop/echo/logged?secret=1"))
    line = wait_until(lambda: [line for line in sidecar.lines("access") if line["path"].endswith("/logged")])[0]
    assert (line["api"], line["route"], line["status"], line["outcome"]) == ("shop", "default", 200, "forwarded")
    assert "secret" not in str(line)


# --- SDKs -------------------------------------------------------------------------------------------------


def test_openai_completes_and_streams(sidecar: Sidecar, shop: Vendor) -> None:
    """With only its base URL changed, the SDK does what it does without Backstay."""
    with openai.OpenAI(api_key=API_KEY, base_url=sidecar.url("/shop/v1")) as client:
        whole = client.chat.completions.create(model="test", messages=[{"role": "user", "content": "hi"}])
        assert whole.choices[0].message.content == "".join(STREAMED_WORDS)
        stream = client.chat.completions.create(model="test", messages=[{"role": "user", "content": "hi"}], stream=True)
        assert [piece.choices[0].delta.content for piece in stream] == list(STREAMED_WORDS)
    assert [call.target for call in shop.calls] == ["/v1/chat/completions"] * 2
    assert shop.calls[0].header("authorization") == f"Bearer {API_KEY}"


async def test_openai_async_streams(sidecar: Sidecar) -> None:
    """The asynchronous client too."""
    async with openai.AsyncOpenAI(api_key=API_KEY, base_url=sidecar.url("/shop/v1")) as client:
        stream = await client.chat.completions.create(
            model="test", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert [piece.choices[0].delta.content async for piece in stream] == list(STREAMED_WORDS)


def test_stripe_creates_a_customer(sidecar: Sidecar, shop: Vendor) -> None:
    """The SDK's form, key and idempotency key reach the vendor."""
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": sidecar.url("/shop")})
    customer = client.v1.customers.create({"description": "robot"}, {"idempotency_key": "order-7"})
    assert (customer.id, customer.description) == ("cus_1", "description=robot")
    (call,) = shop.calls
    assert (call.method, call.target) == ("POST", "/v1/customers")
    assert call.header("idempotency-key") == "order-7"
