"""A vendor that is away, or hides behind a wrong certificate: what the agent and its SDK are told."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import stripe
import trustme

from tests.e2e.conftest import Start
from tests.support.process import Document, Sidecar, closed_port, document
from tests.support.vendor import Vendor


@pytest.fixture
def nowhere() -> Iterator[str]:
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}"


def retried(url: str, attempts: int = 3) -> Document:
    """An api that is tried several times, quickly, and whose breaker stays out of the way."""
    retry = {"attempts": attempts, "backoff": {"base": "1ms", "max": "10ms"}, "budget": False}
    return document({"shop": {"url": url, "retry": retry, "breaker": False}})


def calls(sidecar: Sidecar) -> float:
    return sidecar.value("backstay_requests_total", api="shop")


def test_a_vendor_that_is_away_is_a_problem_with_advice(start: Start, nowhere: str) -> None:
    """The agent learns what failed, that nothing was done, and that it need not try again by itself."""
    sidecar = start(document({"shop": {"url": nowhere}}))
    answer = sidecar.get("/shop/v1/charges")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert answer.headers["backstay-outcome"] == "connect"
    assert answer.headers["x-should-retry"] == answer.headers["stripe-should-retry"] == "false"
    problem = answer.json()
    assert (problem["api"], problem["route"], problem["reason"], problem["attempts"]) == (
        "shop",
        "default",
        "connect",
        1,
    )
    assert "shop API cannot be reached" in problem["advice"]
    assert sidecar.value("backstay_requests_total", outcome="failed", reason="connect", code="502") == 1


def test_openai_leaves_the_retrying_to_backstay(start: Start, nowhere: str) -> None:
    """Its two retries would make nine attempts out of three."""
    sidecar = start(retried(nowhere))
    with (
        openai.OpenAI(api_key="k", base_url=sidecar.url("/shop/v1"), max_retries=2) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.models.list()
    assert caught.value.status_code == 502
    assert caught.value.response.json()["attempts"] == 3
    assert calls(sidecar) == 1
    assert sidecar.value("backstay_retries_total", reason="connect", result="retried") == 2


def test_openai_does_not_repeat_what_backstay_gave_up_on(start: Start, vendor: Vendor) -> None:
    """The vendor's own 503, after the last attempt, says that it was tried enough."""
    vendor.mode = "failing"
    sidecar = start(retried(vendor.url))
    with (
        openai.OpenAI(api_key="k", base_url=sidecar.url("/shop/v1"), max_retries=2) as client,
        pytest.raises(openai.InternalServerError, match="the vendor says 503"),
    ):
        client.models.list()
    assert (calls(sidecar), len(vendor.calls)) == (1, 3)


def test_stripe_does_not_repeat_a_post_that_is_not_safe(start: Start, vendor: Vendor) -> None:
    """Backstay sends a charge once; so does the SDK, which is told to."""
    sidecar = start(retried(vendor.url))
    vendor.mode = "failing"
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": sidecar.url("/shop")}, max_network_retries=2)
    with pytest.raises(stripe.APIError):
        client.v1.customers.create({"description": "robot"})
    assert (calls(sidecar), len(vendor.calls)) == (1, 1)


def test_stripe_leaves_an_open_circuit_alone(start: Start, vendor: Vendor) -> None:
    """A refusal is final for the SDK, too."""
    sidecar = start(document({"shop": {"url": vendor.url}}))
    sidecar.admin("PUT", "/v1/breakers/shop", {"state": "open"})
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": sidecar.url("/shop")}, max_network_retries=2)
    with pytest.raises(stripe.APIError):
        client.v1.customers.create({"description": "robot"})
    assert calls(sidecar) == 1
    assert not vendor.calls


@pytest.mark.parametrize("flaw", ["authority", "name"])
def test_a_certificate_that_proves_nothing_is_a_502(start: Start, tmp_path: Path, flaw: str) -> None:
    """Neither a stranger's certificate nor one for another name is accepted, and nothing is sent."""
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost" if flaw == "authority" else "other.test").configure_cert(context)
    trusted = stranger if flaw == "authority" else authority
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Vendor(context) as vendor:
        sidecar = start(document({"shop": {"url": vendor.url, "tls": {"ca_file": str(tmp_path / "ca.pem")}}}))
        answer = sidecar.get("/shop/echo")
        assert (answer.status_code, answer.json()["reason"]) == (502, "tls")
        assert "certificate" in answer.json()["detail"]
        assert not vendor.calls


def test_a_vendor_that_hangs_is_a_504_within_its_limit(start: Start, vendor: Vendor) -> None:
    """The attempt is cut, and the vendor sees it."""
    sidecar = start(document({"shop": {"url": vendor.url, "timeout": {"first_byte": "200ms"}}}))
    answer = sidecar.get("/shop/hang")
    assert (answer.status_code, answer.json()["reason"]) == (504, "timeout")
    assert sidecar.get("/shop/echo").status_code == 200


def test_httpx_reads_the_problem_of_a_post(start: Start, vendor: Vendor) -> None:
    """After a POST whose fate is unknown, the advice is to look before repeating it."""
    sidecar = start(document({"shop": {"url": vendor.url, "timeout": {"first_byte": "200ms"}}}))
    answer = httpx.post(sidecar.url("/shop/hang"), json={"amount": 1})
    assert answer.status_code == 504
    assert "not known whether the call was carried out" in answer.json()["advice"]
