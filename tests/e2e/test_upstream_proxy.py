"""Backstay behind a company's proxy: every call leaves through it, with credentials that nobody else sees."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trustme

from tests.e2e.conftest import Start
from tests.support.corporate import CorporateProxy, running
from tests.support.process import PATIENCE, Sidecar, command, document, wait_until
from tests.support.vendor import Vendor

PASSWORD: Final = "pass@word"
AUTHORIZATION: Final = b"Basic " + b64encode(f"user:{PASSWORD}".encode())


@dataclass
class Office:
    """A proxy that wants credentials, and vendors that are reached through it under names that nobody here resolves."""

    sidecar: Sidecar
    proxy: CorporateProxy
    clear: Vendor
    secure: Vendor
    authority: Path

    def heads(self) -> list[bytes]:
        """What the proxy was asked for since the last time."""
        heads, self.proxy.heads = self.proxy.heads, []
        assert all(b"\r\nProxy-Authorization: " + AUTHORIZATION + b"\r\n" in head for head in heads)
        return [head.partition(b"\r\n")[0] for head in heads]


@pytest.fixture(scope="module")
def _office(share: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("office")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("secure.example").configure_cert(context)
    with ExitStack() as stack:
        clear, secure = stack.enter_context(Vendor()), stack.enter_context(Vendor(context))
        ports = dict.fromkeys((b"clear.example", b"plain.example"), clear.port)
        ports |= dict.fromkeys((b"secure.example", b"elsewhere.example"), secure.port)
        proxy = stack.enter_context(running(authorization=AUTHORIZATION, to=ports))
        apis: dict[str, dict[str, Any]] = {
            "clear": {"url": "http://clear.example"},
            "secure": {"url": "https://secure.example", "tls": {"ca_file": str(folder / "ca.pem")}},
            "direct": {"url": clear.url, "upstream_proxy": "off"},
            "wrong": {"url": "https://secure.example", "upstream_proxy": f"http://user:wrong@127.0.0.1:{proxy.port}"},
        }
        own = f"http://user:{PASSWORD.replace('@', '%40')}@127.0.0.1:{proxy.port}"
        sidecar = share(document(apis, upstream_proxy=own, log={"level": "debug", "access": "all"}))
        yield Office(sidecar, proxy, clear, secure, folder / "ca.pem")


@pytest.fixture
def office(_office: Office) -> Office:
    for calls in (_office.clear.calls, _office.secure.calls, _office.proxy.heads):
        calls.clear()
    return _office


def test_every_api_is_reached_through_it(office: Office) -> None:
    """TLS by CONNECT, once for many calls; what is in the clear in absolute form; one api goes its own way."""
    for api, vendor in (("clear", office.clear), ("secure", office.secure)):
        for _ in range(2):
            assert office.sidecar.get(f"/{api}/echo?a=1").status_code == 200
        assert [call.header("host") for call in vendor.calls] == [f"{api}.example"] * 2
        assert [call.header("proxy-authorization") for call in vendor.calls] == [None] * 2
    assert office.heads() == [
        *[b"GET http://clear.example/echo?a=1 HTTP/1.1"] * 2,
        b"CONNECT secure.example:443 HTTP/1.1",
    ]
    assert office.sidecar.get("/direct/echo").status_code == 200
    assert office.heads() == []


def test_so_is_what_no_api_names(office: Office) -> None:
    """In absolute form, and what passes through a tunnel within a tunnel untouched."""
    trust = ssl.create_default_context(cafile=office.authority)
    trust.check_hostname = False
    with httpx.Client(proxy=office.sidecar.url(), verify=trust, trust_env=False, timeout=PATIENCE) as agent:
        assert agent.get("http://plain.example:8080/echo").status_code == 200
        assert agent.get("https://elsewhere.example/echo").status_code == 200
    assert office.heads() == [
        b"GET http://plain.example:8080/echo HTTP/1.1",
        b"CONNECT elsewhere.example:443 HTTP/1.1",
    ]


def test_wrong_credentials_are_the_operators_to_mend(office: Office) -> None:
    """502 that names the proxy and its answer; the agent, to whom that is nothing, is not asked for a password."""
    answer = office.sidecar.get("/wrong/echo")
    assert (answer.status_code, answer.json()["reason"]) == (502, "connect")
    place = f"127.0.0.1:{office.proxy.port}"
    assert answer.json()["detail"] == (
        f"The proxy {place}, asked for secure.example:443, does not accept the credentials of upstream_proxy (407)."
    )
    assert "proxy-authenticate" not in answer.headers


def test_its_password_is_shown_nowhere(office: Office) -> None:
    """Where the proxy is, is."""
    shown = [office.sidecar.admin("GET", path).text for path in ("/v1/config", "/")]
    shown += [office.sidecar.get("/metrics", "metrics").text, office.sidecar.get("/wrong/echo").text]
    shown += [command("explain", office.sidecar.files[0], "GET", f"/{api}/echo").stdout for api in ("wrong", "clear")]
    wait_until(lambda: office.sidecar.lines("access"), "a line of the access log")
    shown.append(office.sidecar.transcript())
    assert f"http://****@127.0.0.1:{office.proxy.port}" in "".join(shown)
    for secret in (PASSWORD, "pass%40word", AUTHORIZATION.decode().removeprefix("Basic "), "user:"):
        assert not [text for text in shown if secret in text]
