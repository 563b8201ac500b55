"""Which api, which route, and what is asked of the upstream; with a look for spellings that evade."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.routing import ApiEntry, Match, Table, moved, normalise_host, normalise_path


def api(
    name: str, mount: str | None = None, *hosts: str, base: str = "", routes: tuple[tuple[Match, str], ...] = ()
) -> ApiEntry[str]:
    return ApiEntry(name=name, mount=mount, hosts=hosts, base_path=base, routes=routes, default="default")


APIS: Final = (
    api("stripe", "/stripe", "api.stripe.com", "stripe.internal"),
    api("connect", "/stripe/connect", "connect.stripe.com"),
    api("github", "/github", "api.github.com", base="/v3"),
    api("local", "/local", "127.0.0.1"),
)
TABLE: Final = Table(APIS)
ROOTED: Final = Table([*APIS, api("rest", "/", "example.com")])


def find(host: bytes, target: bytes, table: Table[str] = TABLE) -> tuple[str, str, bytes, bytes] | None:
    found = table.find(host, target)
    return None if found is None else (found.entry.name, found.path, found.query, found.upstream_target)


# --- spelling


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/v1/charges", "/v1/charges"),
        (b"/", "/"),
        (b"/v1/%63harge%73", "/v1/charges"),
        (b"/v1/%7Euser/a%2Db", "/v1/~user/a-b"),
        (b"/v1/a%2fb%3a", "/v1/a%2Fb%3A"),
        (b"/v1//charges///x", "/v1/charges/x"),
        (b"//", "/"),
        (b"/v1/./charges", "/v1/charges"),
        (b"/v1/x/../charges", "/v1/charges"),
        (b"/v1/%2e%2E/charges", "/charges"),
        (b"/v1/a//../b", "/v1/b"),
        (b"/../../etc", "/etc"),
        (b"/v1/charges/", "/v1/charges/"),
        (b"/v1/charges/.", "/v1/charges/"),
        (b"/v1/charges/..", "/v1/"),
        (b"/v1/..", "/"),
        (b"/.well-known/x", "/.well-known/x"),
        (b"/v1/...", "/v1/..."),
        (b"/v1/100%", "/v1/100%"),
        (b"/v1/%zz%4", "/v1/%zz%4"),
        (b"/v1/%252e", "/v1/%252e"),
        (b"/v1/\xff", "/v1/\xff"),
    ],
)
def test_a_path_has_one_normal_spelling(path: bytes, normal: str) -> None:
    """Unreserved characters decoded, slashes collapsed, dots resolved; what is reserved or malformed stays."""
    assert normalise_path(path) == normal


paths = st.lists(
    st.sampled_from(
        [b"/", b"/", b".", b"..", b"%2e", b"%2F", b"%41", b"%", b"stripe", b"github", b"connect", b"a", b"*"]
    ),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))


@given(path=paths)
def test_the_normal_spelling_has_no_dots_to_resolve_and_no_empty_segment(path: bytes) -> None:
    """Nothing is left by which a path could mean another one."""
    normal = normalise_path(path)
    assert normal.startswith("/")
    assert "//" not in normal
    assert not {".", ".."} & set(normal.split("/"))


@given(path=paths)
def test_normalising_twice_changes_nothing(path: bytes) -> None:
    """If every percent sign begins an escape; one that does not may come to stand before two digits."""
    if len(re.findall(rb"%[0-9A-Fa-f]{2}", path)) == path.count(b"%"):
        normal = normalise_path(path)
        assert normalise_path(normal.encode("latin-1")) == normal


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"api.stripe.com", "api.stripe.com"),
        (b"API.Stripe.com:443", "api.stripe.com"),
        (b"api.stripe.com.", "api.stripe.com"),
        (b"api.stripe.com.:80", "api.stripe.com"),
        (b"[::1]:7070", "::1"),
        (b"[::1]", "::1"),
        (b"127.0.0.1:7070", "127.0.0.1"),
        (b"", ""),
    ],
)
def test_a_host_is_a_name_without_case_port_and_final_dot(host: bytes, name: str) -> None:
    """RFC 9110, 4.2.3: these are one host."""
    assert normalise_host(host) == name


# --- which api


def test_a_host_wins_over_a_mount() -> None:
    """The whole path belongs to the api, even if it begins like the mount of another."""
    assert find(b"API.stripe.com:443", b"/github/x") == ("stripe", "/github/x", b"", b"/github/x")
    assert find(b"stripe.internal", b"/v1") == ("stripe", "/v1", b"", b"/v1")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/stripe/v1/charges?a=1?b", ("stripe", "/v1/charges", b"a=1?b", b"/v1/charges?a=1?b")),
        (b"/stripe", ("stripe", "/", b"", b"/")),
        (b"/stripe?", ("stripe", "/", b"", b"/?")),
        (b"/stripe/", ("stripe", "/", b"", b"/")),
        (b"/stripe/connect/x", ("connect", "/x", b"", b"/x")),
        (b"/stripe/connected", ("stripe", "/connected", b"", b"/connected")),
        (b"/stripes/x", None),
        (b"/github/repos", ("github", "/repos", b"", b"/v3/repos")),
        (b"/github", ("github", "/", b"", b"/v3")),
        (b"/unknown", None),
        (b"/", None),
        (b"http://x/", None),
        (b"", None),
    ],
)
def test_the_longest_mount_wins_at_a_segment_boundary(target: bytes, expected: object) -> None:
    """The mount is replaced by the path of the url; where none fits there is no api."""
    assert find(b"backstay:7070", target) == expected


def test_the_root_mount_takes_what_is_left() -> None:
    """``mount: /`` forwards every other path as it is."""
    assert find(b"backstay", b"//unknown/x", ROOTED) == ("rest", "/unknown/x", b"", b"//unknown/x")
    assert find(b"backstay", b"/stripe/x", ROOTED) == ("stripe", "/x", b"", b"/x")


def test_an_address_as_host_comes_after_the_mounts() -> None:
    """An upstream beside Backstay does not take the mounts of the others; without a mount it is found all the same."""
    assert find(b"127.0.0.1:7070", b"/github/x") == ("github", "/x", b"", b"/v3/x")
    assert find(b"127.0.0.1:80", b"/x") == find(b"127.0.0.1", b"/x") == ("local", "/x", b"", b"/x")
    assert find(b"127.0.0.1:7070", b"/x") is None
    assert find(b"[::1]:80", b"/x", Table([api("six", None, "::1")])) == ("six", "/x", b"", b"/x")


def test_a_further_name_wins_over_the_host_of_a_url() -> None:
    """``hosts`` is what the operator wrote for this purpose; among urls the first api wins."""
    table = Table(
        [api("first", None, "a.com"), api("second", None, "a.com", "b.com"), api("third", None, "c.com", "A.com.")]
    )
    assert [found and found[0] for found in (find(host, b"/", table) for host in (b"a.com", b"b.com", b"c.com"))] == [
        "third",
        "second",
        "third",
    ]
    twins = Table([api("first", "/", "a.com"), api("second", "/", "a.com")])
    assert [found and found[0] for found in (find(host, b"/", twins) for host in (b"a.com", b"b.com"))] == ["first"] * 2


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        (b"127.0.0.1", 8080, "ipv4"),
        (b"127.0.0.1:8080", 80, "ipv4"),
        (b"2130706433:8080", 80, "ipv4"),
        (b"0x7f.1:8080", 80, "ipv4"),
        (b"[::ffff:7f00:1]:8080", 80, "ipv4"),
        (b"[0:0:0:0:0:0:0:1]", 443, "ipv6"),
        (b"127.0.0.1", 80, None),
        (b"127.0.0.1:", 443, None),
        (b"API.example..", 80, "named"),
    ],
)
def test_no_spelling_of_a_host_evades_its_api(host: bytes, port: int, name: str | None) -> None:
    """An address is compared as a number, with the port of the scheme where it has none, and a name without dots."""
    urls = (("ipv4", "127.0.0.1", 8080), ("ipv6", "::1", 443), ("named", "api.example", 80))
    entries = [ApiEntry(name=each, mount=None, hosts=(at,), base_path="/v1", routes=(), default="", port=number)
               for each, at, number in urls]  # fmt: skip
    table: Table[str] = Table(entries)
    found = table.find_named(host, b"/v1/x", port)
    assert (None if found is None else found.entry.name) == name
    assert found is None or (found.path, found.upstream_target) == ("/x", b"/v1/x")


@pytest.mark.parametrize(
    ("target", "own", "other", "expected"),
    [
        (b"/v1/x?y", b"/v1", b"/v2", b"/v2/x?y"),
        (b"/v1?y", b"/v1", b"", b"/?y"),
        (b"/v1", b"/v1", b"", b"/"),
        (b"/v1", b"/v1", b"/v2", b"/v2"),
        (b"/v1x/y", b"/v1", b"", b"/v1x/y"),
        (b"/%76%31/x", b"/v1", b"/v2", b"/v2/%76%31/x"),
        (b"/x", b"", b"/v2", b"/v2/x"),
        (b"*", b"/v1", b"/v2", b"*"),
    ],
)
def test_a_target_is_moved_from_one_url_to_another(target: bytes, own: bytes, other: bytes, expected: bytes) -> None:
    """What a caught agent asks of a vendor need not be below the path of the url: no part of a segment is cut off."""
    assert moved(target, own, other) == expected


def test_options_asks_about_a_whole_server() -> None:
    """``OPTIONS *`` goes to the api of the host, or of the root mount, and fits no route with paths."""
    assert find(b"api.stripe.com", b"*") == ("stripe", "*", b"", b"*")
    assert find(b"backstay", b"*", ROOTED) == ("rest", "*", b"", b"*")
    assert find(b"127.0.0.1", b"*") == ("local", "*", b"", b"*")
    assert find(b"backstay", b"*") is None


# --- what is forwarded


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/stripe/v1/%63harges%2Fx", ("stripe", "/v1/charges%2Fx", b"", b"/v1/%63harges%2Fx")),
        (b"/stripe//v1/./charges", ("stripe", "/v1/charges", b"", b"//v1/./charges")),
        (b"/%73tripe/v1/%63harges", ("stripe", "/v1/charges", b"", b"/v1/charges")),
        (b"//stripe/v1", ("stripe", "/v1", b"", b"/v1")),
        (b"/x/../stripe/v1?q", ("stripe", "/v1", b"q", b"/v1?q")),
        (b"/stripe/../github/x", ("github", "/x", b"", b"/v3/x")),
        (b"/stripe/%2e%2e/github/x", ("github", "/x", b"", b"/v3/x")),
        (b"/github/../github/x", ("github", "/x", b"", b"/v3/x")),
        (b"/github/a/../b", ("github", "/b", b"", b"/v3/a/../b")),
        (b"/github/a/..", ("github", "/", b"", b"/v3/a/..")),
        (b"/github/..", None),
        (b"/../../github/x", ("github", "/x", b"", b"/v3/x")),
    ],
)
def test_the_path_is_forwarded_as_it_came_unless_it_would_mean_another_place(target: bytes, expected: object) -> None:
    """Signatures depend on the spelling; a mount in escapes or dots that climb out of it cannot be kept."""
    assert find(b"backstay", target) == expected


def test_dots_do_not_climb_out_of_the_path_of_the_url() -> None:
    """By host nothing is cut off, and still no spelling reaches the upstream above ``/v3``."""
    assert find(b"api.github.com", b"/../admin") == ("github", "/admin", b"", b"/v3/admin")
    assert find(b"api.github.com", b"/a/../b") == ("github", "/b", b"", b"/v3/a/../b")


def test_a_mount_is_cut_off_at_a_segment_only() -> None:
    """A path that begins with the letters of the mount and comes back by dots is not cut within a segment."""
    table = Table([api("one", "/a", base="/a")])
    assert find(b"backstay", b"/ab/../a/y", table) == ("one", "/y", b"", b"/a/y")


@given(target=paths, host=st.sampled_from([b"backstay", b"127.0.0.1", b"api.github.com", b"api.stripe.com"]))
@example(target=b"/github/%2e%2e/github", host=b"backstay")
def test_what_is_forwarded_means_what_was_matched(target: bytes, host: bytes) -> None:
    """However it is spelt: the upstream is asked for the path that the routes saw, under the path of the url."""
    found = ROOTED.find(host, target)
    assert found is not None
    meant = found.entry.base_path + found.path
    assert normalise_path(found.upstream_target).rstrip("/") == meant.rstrip("/")


@given(host=st.binary(max_size=80), target=st.binary(max_size=80))
def test_arbitrary_bytes_find_an_api_or_none(host: bytes, target: bytes) -> None:
    """The other side chooses them."""
    found = ROOTED.find(host, target)
    assert (found is None) == (not target.startswith(b"/") and target != b"*")


def test_hosts_are_remembered_within_bounds() -> None:
    """A thousand made-up hosts do not grow the table."""
    table = Table(APIS)
    for number in range(1000):
        table.find(b"host%d" % number, b"/")
    table.find(b"x" * 65, b"/")
    assert len(table._names) == 256
    assert find(b"api.stripe.com", b"/", table) is not None


# --- which route


def picks(pattern: str, path: str) -> bool:
    return api("x", routes=((Match(paths=(pattern,)), "route"),)).pick(b"GET", path) == "route"


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("/v1/charges", ["/v1/charges"], ["/v1/charges/", "/v1/charge", "/v1/charges/x", "/V1/charges"]),
        ("/v1/refunds/*", ["/v1/refunds/x", "/v1/refunds/x/y", "/v1/refunds/"], ["/v1/refunds", "/v1/refundsx"]),
        ("/*", ["/", "/x", "/x/y"], ["*"]),
        ("/v1/*/lines", ["/v1/x/lines"], ["/v1/lines", "/v1/x/y/lines", "/v1//lines"]),
        ("/v1/in_*.pdf", ["/v1/in_7.pdf", "/v1/in_.pdf"], ["/v1/in_7/x.pdf", "/v1/in_7.pdf/x", "/v1/in_7xpdf"]),
        ("/a*b*c", ["/abc", "/axbxc", "/abbcc"], ["/ab", "/acb", "/abxc/"]),
        ("/v1/x**y", ["/v1/xy", "/v1/xzzy"], ["/v1/x/y"]),
        ("/v1/%63harges/*", ["/v1/charges/x"], ["/v1/%63harges/x"]),
        ("/a.b/(c)", ["/a.b/(c)"], ["/axb/(c)"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], other: list[str]) -> None:
    """A star is a segment, a part of one, or at the end everything below; all else stands for itself."""
    assert [path for path in fitting if not picks(pattern, path)] == []
    assert [path for path in other if picks(pattern, path)] == []


segments = st.text("ab", max_size=6)


@given(pattern=st.text("ab*", min_size=1, max_size=8), segment=segments)
def test_stars_within_a_segment_match_as_a_naive_search_would(pattern: str, segment: str) -> None:
    """The linear-time expression finds whatever the backtracking one does."""
    naive = re.fullmatch("/" + pattern.replace("*", "[^/]*") + "/x", f"/{segment}/x")
    assert picks(f"/{pattern}/x", f"/{segment}/x") == (naive is not None and (pattern != "*" or segment != ""))


@pytest.mark.timeout(5)
def test_a_hostile_path_costs_no_more_than_its_length() -> None:
    """Many stars and a long path that almost fits: backtracking would take for ever."""
    assert not picks("/" + "a*" * 12 + "b", "/" + "a" * 60_000)


def test_the_first_route_that_fits_wins() -> None:
    """Methods and paths must both fit; the default is for the rest."""
    entry = api(
        "stripe",
        routes=(
            (Match(frozenset({b"POST"}), ("/v1/charges", "/v1/refunds/*")), "charges"),
            (Match(frozenset({b"POST", b"PUT"})), "writes"),
            (Match(paths=("/v1/*",)), "reads"),
        ),
    )
    calls = [(b"POST", "/v1/charges"), (b"PUT", "/v1/charges"), (b"GET", "/v1/charges"), (b"GET", "/"), (b"POST", "*")]
    assert [entry.pick(*call) for call in calls] == ["charges", "writes", "reads", "default", "writes"]


def test_repr_shows_what_is_where() -> None:
    """An entry names its places, a table counts them."""
    assert repr(APIS[3]) == "<ApiEntry local mount=/local hosts=('127.0.0.1',) routes=0>"
    assert repr(ROOTED) == "<Table hosts=6 mounts=5>"
