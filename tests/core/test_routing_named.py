"""Whose a request is that was caught, or came in absolute-form: by its host alone, and no spelling evades its route."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.routing import ApiEntry, Match, Table, normalise_path

ROUTES: Final = (
    (Match(frozenset({b"POST"}), ("/charges", "/refunds/*")), "charges"),
    (Match(paths=("/v3/*",)), "inner"),
    (Match(frozenset({b"POST"})), "writes"),
)


def api(name: str, mount: str, *hosts: str, base: str = "") -> ApiEntry[str]:
    return ApiEntry(name=name, mount=mount, hosts=hosts, base_path=base, routes=ROUTES, default="default")


TABLE: Final = Table(
    [
        api("plain", "/plain", "api.plain.com", "plain.internal"),
        api("based", "/based", "api.based.com", "based.internal", base="/v3"),
        api("local", "/local", "localhost"),
        api("rest", "/", "api.rest.com"),
    ]
)
OWN: Final = [b"api.plain.com", b"API.based.com:443", b"api.based.com."]
FURTHER: Final = [b"plain.internal", b"Based.Internal:8443"]


def found(host: bytes, target: bytes) -> tuple[str, str, bytes, bytes] | None:
    there = TABLE.find_named(host, target)
    return None if there is None else (there.entry.name, there.path, there.query, there.upstream_target)


@pytest.mark.parametrize(
    ("target", "path", "upstream"),
    [
        (b"/v3/charges?a=b?c", "/charges", b"/v3/charges?a=b?c"),
        (b"/v3", "/", b"/v3"),
        (b"/v3/", "/", b"/v3/"),
        (b"/v3//%63harges", "/charges", b"/v3//%63harges"),
        (b"/v3x/charges", "/v3x/charges", b"/v3x/charges"),
        (b"/v3/v3/charges", "/v3/charges", b"/v3/v3/charges"),
        (b"/charges", "/charges", b"/charges"),
        (b"/v3/../admin", "/admin", b"/v3/../admin"),
        (b"/", "/", b"/"),
        (b"/based/charges", "/based/charges", b"/based/charges"),
    ],
)
def test_at_the_host_of_the_url_the_path_is_the_vendors(target: bytes, path: str, upstream: bytes) -> None:
    """It is sent as it came; routes see it without the path of the url. What looks like a mount is none."""
    assert found(b"api.based.com", target) == ("based", path, target.partition(b"?")[2], upstream)


@pytest.mark.parametrize(
    ("target", "path", "upstream"),
    [
        (b"/charges?a=b", "/charges", b"/v3/charges?a=b"),
        (b"/", "/", b"/v3/"),
        (b"/v3/charges", "/v3/charges", b"/v3/v3/charges"),
        (b"/%63harges/../x", "/x", b"/v3/%63harges/../x"),
        (b"/../admin", "/admin", b"/v3/admin"),
    ],
)
def test_at_a_further_host_it_is_below_the_url(target: bytes, path: str, upstream: bytes) -> None:
    """As the agent was told by its base url; no dots climb out of that."""
    assert found(b"based.internal", target) == ("based", path, target.partition(b"?")[2], upstream)


@pytest.mark.parametrize(
    "host", [b"backstay:7070", b"127.0.0.1", b"", b"com", b"x.api.plain.com", b"api.plain.com.evil"]
)
def test_mounts_are_for_those_who_know_us(host: bytes) -> None:
    """A host that is no api's has none, whatever the path begins with, and although one is mounted at the root."""
    for target in (b"/plain/charges", b"/", b"*"):
        assert found(host, target) is None
        assert Table([api("one", "/plain", "a.com")]).find_named(host, target) is None


def test_a_whole_server() -> None:
    """``OPTIONS *`` is about the one of the host."""
    assert found(b"api.based.com", b"*") == ("based", "*", b"", b"*")
    assert TABLE.find_named(b"api.based.com", b"*?x") is not None


def test_localhost_has_a_port() -> None:
    """As an address has: others listen there too."""
    assert found(b"localhost", b"/x") == ("local", "/x", b"", b"/x")
    assert found(b"localhost:7070", b"/x") is None
    assert TABLE.find_named(b"localhost", b"/x", 443) is None


PIECES: Final = [
    b"/",
    b"/",
    b".",
    b"..",
    b"%2e",
    b"%2F",
    b"%63",
    b"%",
    b"v3",
    b"v%33",
    b"charges",
    b"plain",
    b"a",
    b"*",
]
spellings = st.lists(st.sampled_from(PIECES), max_size=10).map(lambda parts: b"/" + b"".join(parts))
hosts = st.sampled_from(OWN + FURTHER)


@given(host=hosts, target=spellings)
@example(host=b"api.based.com", target=b"/v3/%2e%2e/v3/charges")
@example(host=b"api.based.com", target=b"/%763/charges")
def test_no_spelling_reaches_another_route(host: bytes, target: bytes) -> None:
    """Of a path there is one that is matched, and the route is that of the plain spelling."""
    there = TABLE.find_named(host, target)
    plain = TABLE.find_named(host, normalise_path(target).encode("latin-1"))
    assert there is not None
    assert plain is not None
    for method in (b"GET", b"POST"):
        assert there.entry.pick(method, there.path) == plain.entry.pick(method, plain.path)


@given(host=hosts, target=spellings)
def test_what_is_forwarded_means_what_was_matched(host: bytes, target: bytes) -> None:
    """The upstream is asked for the path that the routes saw, be it below the path of the url or beside it."""
    there = TABLE.find_named(host, target)
    assert there is not None
    sent, base = normalise_path(there.upstream_target), there.entry.base_path
    inside = sent[len(base) :] if sent == base or sent.startswith(base + "/") else sent
    assert (inside or "/").rstrip("/") == there.path.rstrip("/")


@given(target=spellings, method=st.sampled_from([b"GET", b"POST"]))
def test_the_routes_are_those_of_a_call_by_its_mount(target: bytes, method: bytes) -> None:
    """What an agent would be served that was pointed at us is what it is served when it is caught."""
    by_mount, by_name = TABLE.find(b"based.internal", target), TABLE.find_named(b"based.internal", target)
    assert by_mount == by_name
    assert by_mount is not None
    caught = TABLE.find_named(b"api.based.com", by_mount.upstream_target)
    assert caught is not None
    assert caught.entry.pick(method, caught.path) == by_mount.entry.pick(method, by_mount.path)


@given(host=st.binary(max_size=60), target=st.binary(max_size=60), port=st.integers(0, 65535))
def test_arbitrary_bytes_find_an_api_or_none(host: bytes, target: bytes, port: int) -> None:
    """The other side chooses them."""
    assert TABLE.find_named(host, target, port) is None or TABLE.named(host, port) is not None
