"""Tests of runtime.py: whose a request is, and where it goes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from proxy.config.load import load
from proxy.config.settings import Api, Config, Tls, UpstreamProxy
from proxy.core.egress import EgressSettings, Via
from proxy.errors import CrossSite, EgressDenied, Misdirected, WrongHost
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


@pytest.mark.parametrize(
    ("host", "site", "refused"),
    [
        (b"127.0.0.1:7070", b"cross-site", True),
        (b"evil.example:7070", b"", True),
        (b"127.0.0.1:7070", b"", False),
        (b"stripe.internal", b"none", False),
    ],
)
async def test_a_page_gets_no_credentials(rig: Rig, writes: Writes, host: bytes, site: bytes, refused: bool) -> None:
    """Only a call that the agent makes itself has them set, and only where there are some does it matter."""
    credentials = TWO_APIS.replace(
        "mount: /stripe", "mount: /stripe\n    credentials: {authorization: {value: secret}}"
    )
    runtime = Runtime(load([writes(credentials)], {}), rig.parts, b"test")
    asked = Request(b"GET", b"/stripe/v1/x", Headers.of((b"Sec-Fetch-Site", site)), host=host)
    other = Request(b"GET", b"/weather/x", Headers.of((b"Sec-Fetch-Site", site)), host=b"evil.example")
    assert runtime.route(other).api == "weather"
    if refused:
        with pytest.raises(CrossSite):
            runtime.route(asked)
    else:
        assert runtime.route(asked).api == "stripe"


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


# --- what was caught ----------------------------------------------------------------------------------------


def forwarded(target: bytes, host: bytes, method: bytes = b"GET", scheme: bytes = b"http") -> Request:
    asked = request(target, method, host)
    asked.forward = scheme
    return asked


@pytest.mark.parametrize(
    ("asked", "chain", "target"),
    [
        (forwarded(b"/v1/charges", b"api.stripe.com", b"POST", b"https"), ("stripe", "charges"), b"/v1/charges"),
        (forwarded(b"/v1/charges", b"STRIPE.internal:9", b"POST"), ("stripe", "charges"), b"/v1/charges"),
        (forwarded(b"/base/%74oday", b"weather.example:8080"), ("weather", "default"), b"/base/%74oday"),
        (forwarded(b"/other", b"weather.example"), ("weather", "default"), b"/other"),
        (forwarded(b"/stripe/v1/charges", b"127.0.0.1:7070", b"POST"), ("stripe", "charges"), b"/v1/charges"),
        (forwarded(b"/weather/today", b"localhost:7070"), ("weather", "default"), b"/base/today"),
        (forwarded(b"/stripe/v1/charges", b"127.0.0.1:7071"), ("", "unlisted"), b"/stripe/v1/charges"),
        (forwarded(b"/stripe/v1/charges", b"other.example:7070"), ("", "unlisted"), b"/stripe/v1/charges"),
    ],
)
async def test_absolute_form(runtime: Runtime, rig: Rig, asked: Request, chain: tuple[str, str], target: bytes) -> None:
    """The host decides; a mount is for those who call us, be it by way of us."""
    rig.survivors.guard.settings = EgressSettings(private_networks="allow")
    rig.survivors.guard.own = [("127.0.0.1", 7070)]
    found = runtime.route(asked)
    assert (found.api, found.route, asked.target) == (*chain, target)


async def test_absolute_form_to_what_is_denied(runtime: Runtime, rig: Rig) -> None:
    """Egress is asked about every host that is no api's: what is here and no mount is not reached either."""
    rig.survivors.guard.own = [("127.0.0.1", 7070)]
    for host in (b"127.0.0.1:7070", b"169.254.169.254", b"10.0.0.1"):
        with pytest.raises(EgressDenied):
            runtime.route(forwarded(b"/metrics", host))


async def test_a_connection_of_an_api(runtime: Runtime) -> None:
    """It is found by each of the api's names, serves its routes, and nobody else."""
    assert [runtime.named(host, 443) for host in ("api.stripe.com", "stripe.internal", "other.example", "::1")] == [
        *["stripe"] * 2,
        *[None] * 2,
    ]
    chain = runtime.bound(request(b"/v1/charges", b"POST", b"stripe.internal"), "stripe", 443)
    assert (chain.api, chain.route) == ("stripe", "charges")
    for host in (b"weather.example", b"127.0.0.1:7070", b"other.example", b""):
        with pytest.raises(WrongHost, match="made for stripe"):
            runtime.bound(request(b"/stripe/v1/charges", b"POST", host), "stripe", 443)


async def test_a_limit_of_hops_is_answered_by_itself(runtime: Runtime) -> None:
    """Only for the methods that know one."""
    for method, limited in ((b"OPTIONS", True), (b"GET", False)):
        asked = request(b"/v1", method, b"api.stripe.com")
        asked.headers.set(b"Max-Forwards", b"0")
        chain = runtime.route(asked)
        assert (chain.proceed is not runtime.route(request(b"/v1", host=b"api.stripe.com")).proceed) is limited


async def test_where_an_api_is(rig: Rig) -> None:
    """Its url and its way out: what is not for us to read goes there too."""
    proxy = UpstreamProxy("proxy.example", 3128)
    runtime = Runtime(Config(apis=(Api("x", "http", "vendor.example", 8080, upstream_proxy=proxy),)), rig.parts, b"me")
    host, port, way = runtime.to_url("x")
    assert (host, port, way.proxy) == ("vendor.example", 8080, proxy)
    assert way.choose is not None
    assert way.choose(["10.0.0.1"]) == ["10.0.0.1"]
    with pytest.raises(WrongHost, match="x is not configured any more"):
        Runtime(Config(), rig.parts, b"me").to_url("x")


async def test_where_anything_else_is(rig: Rig) -> None:
    """By the way out that holds for all; each of its addresses is judged as it was come by."""
    proxy = UpstreamProxy("proxy.example", 3128)
    runtime = Runtime(Config(upstream_proxy=proxy), rig.parts, b"me")
    direct = runtime.onward(None, 5432, Via.TRANSPARENT)
    turned = runtime.onward("db.example", 5432, Via.TRANSPARENT, "10.0.0.2")
    assert direct.proxy is proxy
    assert direct.choose is not None
    assert turned.choose is not None
    assert direct.choose(["10.0.0.1"]) == ["10.0.0.1"]
    with pytest.raises(EgressDenied):
        turned.choose(["10.0.0.1"])


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
