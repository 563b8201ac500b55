"""A vendor whose certificate proves nothing: 502 with the reason, in whatever form the agent calls; nothing is sent.

Interception takes the check away from the agent, so it is Backstay's to make, and must never turn a bad certificate
into a good one. Redirected connections: tests/clients.
"""

from __future__ import annotations

import datetime as dt
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
import trustme

from proxy.wire.ca import Authority
from tests.support.authority import made
from tests.support.process import PATIENCE, Sidecar, document, write
from tests.support.vendor import Vendor

BAD: Final = {
    "expired": "certificate has expired",
    "self-signed": "self-signed certificate",
    "wrong-host": "ostname mismatch",
    "stranger": "unable to get local issuer certificate",
    "backstay": "unable to get local issuer certificate",  # signed by the very authority that agents trust
}
FORMS: Final = ("reverse", "absolute", "intercepted")


def context(chain: bytes, key: bytes, folder: Path) -> ssl.SSLContext:
    (file := folder / "vendor.pem").write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def issued(authority: trustme.CA, name: str, folder: Path, age: int = 0) -> ssl.SSLContext:
    """For ``name``, valid until ``age`` days ago, or still."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=-age or 1)
    leaf = authority.issue_cert(name, not_before=until - dt.timedelta(days=9), not_after=until)
    return context(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes(), folder)


def certificates(folder: Path, vendors: trustme.CA, backstay: Authority) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Of each vendor; all of them stand at localhost."""
    own = made("localhost", ca=None, until=time.time() + 1e6)
    yield "good", issued(vendors, "localhost", folder)
    yield "expired", issued(vendors, "localhost", folder, age=1)
    yield "self-signed", context(own.pem, own.key_pem, folder)
    yield "wrong-host", issued(vendors, "other.example", folder)
    yield "stranger", issued(trustme.CA(), "localhost", folder)
    yield "backstay", context(backstay.issue("localhost", time.time()), backstay.leaf_key, folder)


@dataclass
class World:
    """Vendors, each an api, and a sidecar that intercepts."""

    sidecar: Sidecar
    vendors: dict[str, Vendor]
    bundle: Path

    def ask(self, name: str, form: str) -> httpx.Response:
        """What an agent gets that trusts the bundle, and calls ``name`` in this form."""
        return getattr(self, f"_{form}")(name)  # type: ignore[no-any-return]

    def _reverse(self, name: str) -> httpx.Response:
        return self.sidecar.get(f"/{name}/echo")

    def _absolute(self, name: str) -> httpx.Response:
        return self._through_proxy(f"http://{name}.example/echo")

    def _intercepted(self, name: str) -> httpx.Response:
        return self._through_proxy(f"https://{name}.example/echo")

    def _through_proxy(self, url: str) -> httpx.Response:
        trust = ssl.create_default_context(cafile=self.bundle)
        with httpx.Client(proxy=self.sidecar.url(), verify=trust, trust_env=False, timeout=PATIENCE) as agent:
            return agent.get(url)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, _sidecars: list[Sidecar]) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("certificates")
    vendors_ca = trustme.CA()
    vendors_ca.cert_pem.write_to_path(folder / "vendors.pem")
    backstay = Authority.load(folder / "ca", time.time())
    with ExitStack() as stack:
        vendors = {
            name: stack.enter_context(Vendor(context)) for name, context in certificates(folder, vendors_ca, backstay)
        }
        tls = {"ca_file": str(folder / "vendors.pem")}
        apis = {
            name: {"url": vendor.url, "hosts": [f"{name}.example"], "tls": tls, "breaker": "off"}
            for name, vendor in vendors.items()
        }
        apis["passed"] = apis["stranger"] | {"hosts": ["passed.example"]}
        intercept = {"ca_dir": str(folder / "ca"), "trust_dir": str(folder / "trust")}
        egress = {"pass_through": ["passed.example"]}
        write(folder / "backstay.yaml", document(apis, tls_intercept=intercept, egress=egress))
        sidecar = Sidecar(folder, folder / "backstay.yaml")
        _sidecars.append(sidecar)
        stack.callback(_sidecars.remove, sidecar)
        stack.callback(sidecar.stop)
        yield World(sidecar.start(), vendors, folder / "trust" / "ca-bundle.crt")


@pytest.mark.parametrize("form", FORMS)
def test_a_good_certificate(world: World, form: str) -> None:
    """The same call in the same form, to a vendor that proves its name."""
    answer = world.ask("good", form)
    assert (answer.status_code, answer.json()["target"]) == (200, "/echo")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_certificate(world: World, name: str, form: str) -> None:
    """The agent is told what is wrong with it, in each form, and the vendor is sent nothing."""
    answer = world.ask(name, form)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["api"]) == (502, "tls", name)
    assert BAD[name] in problem["detail"]
    assert world.vendors[name].calls == []


def test_the_agent_checks_for_itself_where_nothing_is_intercepted(world: World) -> None:
    """Passed through, the vendor's own certificate reaches the agent, which refuses it."""
    with pytest.raises(httpx.ConnectError, match="unable to get local issuer certificate"):
        world.ask("passed", "intercepted")
    assert world.sidecar.values("backstay_captured_connections_total", "handling")["pass_through"] == 1


def test_what_the_operator_sees(world: World) -> None:
    """The failures are the upstream's, by api and reason; no client is suspected of distrust."""
    world.ask("expired", "intercepted")
    failed = {"api": "expired", "reason": "tls", "code": "502", "outcome": "failed"}
    assert world.sidecar.value("backstay_requests_total", **failed) >= 1
    assert world.sidecar.value("backstay_client_trust_failures_total") == 0
