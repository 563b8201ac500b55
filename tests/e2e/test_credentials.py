"""Agents without keys: what they never hold is set on their calls, changes while they run, and is shown to nobody."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import stripe

from tests.e2e.conftest import Start
from tests.support.process import PATIENCE, Document, Sidecar, command, document
from tests.support.vendor import Vendor

OLD, NEW, SEARCH_KEY, PASSWORD = "sk_live_of_old", "sk_live_of_new", "k/ey=1 &2", "pass_of_the_proxy"
STRIPE, SEARCH = "bs_stripe_key", "bs_search_key"
SECRETS: Final = (OLD, NEW, SEARCH_KEY, "k%2Fey%3D1%20%262", PASSWORD)


@dataclass
class Shop:
    """A sidecar that holds the keys of two apis, and the vendor that both are."""

    sidecar: Sidecar
    vendor: Vendor
    file: Path
    secret: Path

    def last(self) -> Any:
        return self.vendor.calls[-1]


def keys(vendor: Vendor, secret: Path) -> Document:
    stripe_key = {"authorization": {"value": f"Bearer ${{file:{secret}}}", "placeholder": STRIPE}}
    search_key = {"query:api_key": {"value": SEARCH_KEY, "placeholder": SEARCH}}
    apis: dict[str, Any] = {
        "stripe": {"url": vendor.url, "credentials": stripe_key, "breaker": {"consecutive": 1}, "retry": {}},
        "search": {"url": vendor.url, "credentials": search_key},
        "other": {"url": vendor.url, "upstream_proxy": f"http://user:{PASSWORD}@127.0.0.1:1"},
    }
    return document(apis, log={"level": "debug", "access": "all"})


@pytest.fixture(scope="module")
def _shop(share: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    (secret := tmp_path_factory.mktemp("secrets") / "stripe.key").write_text(f"{OLD}\n")
    with Vendor() as vendor:
        sidecar = share(keys(vendor, secret))
        yield Shop(sidecar, vendor, sidecar.files[0], secret)


@pytest.fixture
def shop(_shop: Shop) -> Shop:
    _shop.vendor.mode = "well"
    _shop.vendor.calls.clear()
    return _shop


def charge(shop: Shop) -> str | None:
    """What the vendor sees of the key of an agent that uses the vendor's SDK, and holds a placeholder."""
    client = stripe.StripeClient(STRIPE, base_addresses={"api": shop.sidecar.url("/stripe")}, max_network_retries=0)
    client.v1.charges.create({"amount": 1, "currency": "eur", "source": "tok"})
    assert shop.last().target == "/v1/charges"
    key: str | None = shop.last().header("authorization")
    return key


def test_an_agent_that_holds_a_placeholder(shop: Shop) -> None:
    """The vendor gets the key, whatever the agent sends; when its file changes, the new one, with no restart."""
    assert charge(shop) == f"Bearer {OLD}"
    basic = b64encode(f"{STRIPE}:".encode()).decode()
    for headers in ({}, {"authorization": f"Basic {basic}"}, {"Authorization": "Bearer nonsense"}):
        assert shop.sidecar.get("/stripe/echo", headers=headers).status_code == 200
        assert shop.last().header("authorization") == f"Bearer {OLD}"
    shop.secret.write_text(f"{NEW}\n")
    shop.sidecar.wait_log("reloaded")
    assert charge(shop) == f"Bearer {NEW}"


def test_a_parameter_of_the_query(shop: Shop) -> None:
    """Set where the agent sends none, and in the place of its own; what else is in the query keeps its spelling."""
    for query in ("?q=%41+b", "?q=%41+b&api_key=mine"):
        assert shop.sidecar.get(f"/search/echo{query}").status_code == 200
        assert shop.last().target == "/echo?q=%41+b&api_key=k%2Fey%3D1%20%262"
    assert shop.sidecar.get("/search/echo", headers={"X-Key": SEARCH}).status_code == 200
    assert shop.last().header("x-key") == SEARCH_KEY


def test_a_placeholder_leaves_for_its_own_api_alone(shop: Shop) -> None:
    """Neither to another api, in whatever place and spelling, nor to a host that no api names; nobody counts it."""
    basic = b64encode(f"me:{SEARCH}".encode()).decode()
    asked: list[tuple[str, dict[str, str]]] = [
        ("?a=bs%5fsearch_key", {}),
        ("", {"authorization": f"Basic {basic}", "x-a": "1"}),
        ("", {"cookie": f"a=b; c={SEARCH}"}),
    ]
    for query, headers in asked:
        answer = shop.sidecar.get(f"/other/echo{query}", headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "placeholder_misused")
    with httpx.Client(proxy=shop.sidecar.url(), trust_env=False, timeout=PATIENCE) as agent:
        answer = agent.get("http://elsewhere.example/echo", headers={"authorization": f"Bearer {STRIPE}"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "placeholder_misused")
    for _ in range(3):
        assert shop.sidecar.get("/stripe/echo", headers={"x-a": SEARCH}).status_code == 403
    assert shop.vendor.calls == []
    assert shop.sidecar.breaker_state("stripe") == "closed"
    assert shop.sidecar.value("backstay_retries_total", api="stripe") == 0
    assert shop.sidecar.value("backstay_requests_total", api="stripe", outcome="rejected") == 3


def test_secrets_are_shown_nowhere(shop: Shop) -> None:
    """Not to the operator, not in a log, and not to an agent, not even where a call with them fails."""
    charge(shop)
    shop.vendor.mode = "resetting"
    shown = [shop.sidecar.get(f"/{each}/echo").text for each in ("stripe", "search", "other")]
    shown += [shop.sidecar.admin("GET", path).text for path in ("/v1/config", "/v1/breakers", "/")]
    shown += [shop.sidecar.get("/metrics", "metrics").text]
    for arguments in (("check",), ("explain", "GET", "/stripe/echo"), ("explain", "GET", "/other/echo")):
        done = command(arguments[0], shop.file, *arguments[1:])
        assert done.returncode == 0
        shown.append(done.stdout + done.stderr)
    shop.secret.write_text(f"{OLD}\n{NEW}\n")
    shown.append(shop.sidecar.admin("POST", "/v1/reload").text)
    shop.sidecar.wait_log("reload failed, the old configuration stays in force")
    shop.secret.write_text(f"{OLD}\n")
    shown.append(shop.sidecar.transcript())
    assert STRIPE in json.dumps(shown), "placeholders are no secrets"
    assert [secret for secret in SECRETS if any(secret in text for text in shown)] == []
    assert b64encode(f"user:{PASSWORD}".encode()).decode() not in "".join(shown)
