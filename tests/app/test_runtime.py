"""Tests of runtime.py: whose a request is, and where it goes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from proxy.config.load import load
from proxy.config.settings import Api, Config, Tls
from proxy.errors import Misdirected, WrongHost
from proxy.model import Headers, Request
from proxy.runtime import Runtime
from tests.app.conftest import Writes
from tests.support.script import Rig

TWO_APIS = """
  stripe:
    url: https://api.stripe.com
    mount: /stripe
    hosts: [stripe.internal]
    routes:
      - name: charges
        match: {methods: [POST], paths: [/v1/charges]}
  weather:
    url: http://weather.example:8080/base
    mount: /weather
"""


@pytest.fixture
def runtime(rig: Rig, writes: Writes) -> Runtime:
    return Runtime(load([writes(TWO_APIS)], {}), rig.parts, b"test")


def request(target: bytes, method: bytes = b"GET", host: bytes = b"127.0.0.1:7070") -> Request:
    return Request(method, target, Headers(), host=host)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((b"/stripe/v1/charges", b"POST"), ("stripe", "charges")),
        ((b"/stripe/v1/charges", b"GET"), ("stripe", "default")),
        ((b"/v1/charges", b"POST", b"stripe.internal"), ("stripe", "charges")),
        ((b"/v1//charges", b"POST", b"api.stripe.com:443"), ("stripe", "charges")),
        ((b"/weather/today", b"GET", b"localhost:7070"), ("weather", "default")),
    ],
)
async def test_a_request_finds_its_route(runtime: Runtime, asked: tuple[bytes, ...], found: tuple[str, str]) -> None:
    """By mount or by Host, then by the first route that matches its method and normalised path."""
    chain = runtime.route(request(*asked))
    assert (chain.api, chain.route) == found


async def test_a_request_is_given_its_target(runtime: Runtime) -> None:
    """The mount is replaced by the path of the api's url; policies see the path within the api."""
    asked = request(b"/weather/%74oday?at=noon")
    runtime.route(asked)
    assert (asked.path, asked.query, asked.target) == ("/today", b"at=noon", b"/base/%74oday?at=noon")


async def test_an_address_that_is_nobodys_is_told_what_there_is(runtime: Runtime) -> None:
    """The agent's author reads this first."""
    with pytest.raises(Misdirected, match="There are: /stripe, /weather"):
        runtime.route(request(b"/strip/v1/charges"))


async def test_without_apis_there_are_none(rig: Rig) -> None:
    """And that is what is said."""
    with pytest.raises(Misdirected, match="There are: none"):
        Runtime(Config(), rig.parts, b"test").route(request(b"/"))


@pytest.mark.parametrize(
    ("api", "authority"),
    [
        (Api("x", "http", "vendor.example", 80), b"vendor.example"),
        (Api("x", "http", "vendor.example", 443), b"vendor.example:443"),
        (Api("x", "https", "vendor.example", 443), b"vendor.example"),
        (Api("x", "http", "::1", 80), b"[::1]"),
        (Api("x", "http", "::1", 8080), b"[::1]:8080"),
    ],
)
async def test_the_host_field_of_an_upstream(rig: Rig, api: Api, authority: bytes) -> None:
    """A port that is the scheme's own is not written; an IPv6 address has its brackets (RFC 9110, 7.2)."""
    Runtime(Config(apis=(api,)), rig.parts, b"test")
    endpoint = rig.survivors.pools["x"].endpoint
    assert (endpoint.host, endpoint.port, endpoint.authority) == (api.host, api.port, authority)


# --- calls that were caught ---------------------------------------------------------------------------------


ADDRESSES = """
  secure: {url: "https://203.0.113.5"}
  plain: {url: "http://203.0.113.5", mount: /plain}
"""


@pytest.mark.parametrize(
    ("scheme", "host", "api"),
    [
        (b"https", b"203.0.113.5", "secure"),
        (b"http", b"203.0.113.5", "plain"),
        (b"https", b"3405803781", "secure"),
        (b"http", b"[::ffff:203.0.113.5]:443", "secure"),
    ],
)
async def test_an_address_in_absolute_form_is_its_apis(
    rig: Rig, writes: Writes, scheme: bytes, host: bytes, api: str
) -> None:
    """Its port is that of the scheme where it has none: it would go past the policies of its api otherwise."""
    asked = request(b"/x", host=host)
    asked.forward = scheme
    assert Runtime(load([writes(ADDRESSES)], {}), rig.parts, b"test").route(asked).api == api


async def test_a_connection_for_an_address_is_for_its_port(rig: Rig, writes: Writes) -> None:
    """Host says no port where that is the scheme's own; of two apis at one address, the connection says which."""
    runtime = Runtime(load([writes(ADDRESSES)], {}), rig.parts, b"test")
    for port, api in ((443, "secure"), (80, "plain")):
        assert runtime.named("203.0.113.5", port) == api
        assert runtime.bound(request(b"/x", host=b"203.0.113.5"), api, port).api == api
    with pytest.raises(WrongHost):
        runtime.bound(request(b"/x", host=b"203.0.113.5:80"), "secure", 443)


# --- TLS files ----------------------------------------------------------------------------------------------


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(trustme.CA().cert_pem.bytes())
    return path


def https(ca_file: Path, *names: str) -> Config:
    tls = Tls(ca_file=str(ca_file), server_name="vendor.internal")
    return Config(apis=tuple(Api(name, "https", "vendor.example", 443, tls=tls) for name in names))


async def test_apis_with_the_same_files_share_a_context(rig: Rig, ca_file: Path) -> None:
    """Roots of trust are 100 KB each."""
    Runtime(https(ca_file, "one", "two"), rig.parts, b"test")
    one, two = (rig.survivors.pools[name].endpoint for name in ("one", "two"))
    assert one.tls is two.tls
    assert isinstance(one.tls, ssl.SSLContext)
    assert one.server_name == "vendor.internal"


async def test_a_pool_outlives_a_reload(rig: Rig, ca_file: Path) -> None:
    """Its connections go on serving."""
    Runtime(https(ca_file, "one"), rig.parts, b"test")
    pool = rig.survivors.pools["one"]
    Runtime(https(ca_file, "one"), rig.parts, b"test")
    assert rig.survivors.pools["one"] is pool


async def test_a_rotated_certificate_makes_a_new_pool(rig: Rig, ca_file: Path) -> None:
    """The path is the same, the contents are not: connections that were verified by the old ones are not used."""
    Runtime(https(ca_file, "one"), rig.parts, b"test")
    pool = rig.survivors.pools["one"]
    ca_file.write_bytes(trustme.CA().cert_pem.bytes())
    Runtime(https(ca_file, "one"), rig.parts, b"test")
    assert rig.survivors.pools["one"] is not pool


@pytest.mark.parametrize("contents", [None, b"no certificate"])
async def test_a_file_that_cannot_be_used_changes_nothing(rig: Rig, ca_file: Path, contents: bytes | None) -> None:
    """The runtime that is in force keeps its state: another api of the same configuration is not even linked."""
    Runtime(https(ca_file, "one"), rig.parts, b"test")
    before = dict(rig.survivors.pools)
    ca_file.unlink() if contents is None else ca_file.write_bytes(contents)
    plain = Api("plain", "http", "vendor.example", 80)
    broken = https(ca_file, "one").apis[0]
    with pytest.raises(OSError):  # ssl.SSLError is one
        Runtime(Config(apis=(plain, broken)), rig.parts, b"test")
    assert rig.survivors.pools == before
