"""What is explained of a call to a host itself: how it is caught, and what egress says where no api has that host."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import pytest

from proxy.config.caught import Destination, split_authority
from proxy.config.explain import explain
from proxy.config.settings import Config

Loads: TypeAlias = Callable[..., Config]
APIS = "apis: {a: {url: https://a.example}, p: {url: 'https://p.pinned.example'}, h: {url: http://h.example}}\n"


def rows(config: Config, url: str) -> dict[str, tuple[str, str]]:
    """Value and origin by name; of a name that is there twice, the last. The file's name is cut off."""
    cells = [re.split("  +", line.strip()) for line in explain(config, "GET", url).splitlines() if "  " in line.strip()]
    return {name: (value, rest[0].rpartition("/backstay.yaml")[2]) for name, value, *rest in cells if rest}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.example", (True, "x.example", 443)),
        ("u:p@X.example:80", (True, "x.example", 80)),
        ("[::1]", (True, "[::1]", 443)),
        ("[::1]:8443", (True, "[::1]", 8443)),
        ("x:", None),
        ("x:65536", None),
        ("x:٣", None),
        ("a b", None),
        ("[::g]", None),
        ("", None),
    ],
)
def test_a_host_and_a_port(text: str, found: tuple[bool, str, int] | None) -> None:
    """As a url has them; what is no host cannot be judged."""
    assert split_authority("HTTPS", text) == (None if found is None else Destination(*found))


@pytest.mark.parametrize(
    ("more", "url", "said"),
    [
        ("", "http://h.example/", ("as a proxy's call, in CONNECT", "http is in the clear")),
        ("", "https://a.example/", ("not at all: TLS passes, without all this", "default")),
        ("tls_intercept: off\n", "https://a.example/", ("not at all: TLS passes, without all this", ":3")),
        ("tls_intercept: {}\n", "https://a.example/", ("by interception, in CONNECT", ":3")),
        (
            "tls_intercept: {}\nlisten: {transparent: '127.0.0.1:1'}\n",
            "https://a.example/",
            ("by interception, in CONNECT, or redirected", ":3"),
        ),
        (
            "tls_intercept: {}\negress:\n  pass_through:\n  - x\n  - '*.pinned.example'\n",
            "https://p.pinned.example/",
            ("not at all: its TLS passes, without all this", ":7"),
        ),
    ],
)
def test_says_how_the_call_of_an_api_is_caught(more: str, url: str, said: tuple[str, str], loads: Loads) -> None:
    """With the line that says so, or the default."""
    assert rows(loads(f"version: 1\n{APIS}{more}"), url)["caught"] == said


def test_a_call_that_is_addressed_to_backstay_need_not_be_caught(loads: Loads) -> None:
    """By its mount, it comes by itself."""
    config = loads("version: 1\napis: {a: {url: https://a.example, mount: /a}}\n")
    assert "caught" not in rows(config, "/a/x")
    assert "caught" not in rows(config, "http://127.0.0.1:7070/a/x")


EGRESS = """\
version: 1
listen: {transparent: 127.0.0.1:7071}
egress:
  unlisted: UNLISTED
  allow: [x.example, 10.0.0.0/8]
  deny:
  - "*.evil.example"
  - ${env:DENIED}
apis: {a: {url: https://a.example}}
"""


@pytest.mark.parametrize(
    ("url", "unlisted", "egress", "why"),
    [
        (
            "https://x.example/",
            "allow",
            ("allowed, unless its addresses are denied", ":5"),
            ("egress.allow has x.example", "the rule is allow"),
        ),
        ("http://10.1.2.3/", "deny", ("allowed", ":5"), ("egress.allow has 10.0.0.0/8", "the rule is allow")),
        (
            "http://api.evil.example/",
            "allow",
            ("denied", ":7"),
            ("egress.deny has *.evil.example", "the rule is deny"),
        ),
        ("http://secret.example/", "allow", ("denied", ":8"), ("egress.deny has ****", "the rule is deny")),
        (
            "http://some.example/",
            "report",
            ("allowed, and reported, unless its addresses are denied", ":4"),
            ("Neither an api nor an entry of egress.allow names it.", "the rule is unlisted"),
        ),
        (
            "http://some.example/",
            "deny",
            ("denied, unless its addresses say otherwise", ":4"),
            ("Neither an api nor an entry of egress.allow names it.", "the rule is unlisted"),
        ),
        (
            "http://192.168.1.1/",
            "allow",
            ("denied", "default"),
            ("192.168.1.1 is not an address of the public internet.", "the rule is private_networks"),
        ),
        (
            "http://0x7f000001:7072/",
            "allow",
            ("denied", "always"),
            ("127.0.0.1 is a listener of Backstay's own.", "the rule is own_listener"),
        ),
    ],
)
def test_says_what_egress_decides(
    url: str, unlisted: str, egress: tuple[str, str], why: tuple[str, str], loads: Loads
) -> None:
    """By name or literal address, with the rule and where it stands; entries that are hidden stay so."""
    found = rows(loads(EGRESS.replace("UNLISTED", unlisted), DENIED="secret.example"), url)
    assert found["egress"] == egress
    text = explain(loads(EGRESS.replace("UNLISTED", unlisted), DENIED="secret.example"), "GET", url)
    assert re.search("  +".join(map(re.escape, ("why", *why))), text)


def test_a_redirected_connection_is_judged_for_itself(loads: Loads) -> None:
    """Its address was the agent's own choice; without a listener for such, nothing is said of them."""
    text = f"version: 1\nlisten: {{transparent: '127.0.0.1:7071'}}\n{APIS}"
    found = rows(loads(text), "http://192.168.1.1:5432/")
    assert (found["egress"], found["redirected"]) == (("denied", "default"), ("allowed", "default"))
    assert "redirected" not in rows(loads(f"version: 1\n{APIS}"), "http://192.168.1.1:5432/")


def test_what_a_proxy_resolves_is_judged_by_its_name(loads: Loads) -> None:
    """No address will be seen here; the proxy is shown masked."""
    config = loads(f"version: 1\n{APIS}upstream_proxy: http://u:s3cret@proxy:3128\n")
    found = rows(config, "https://x.example/")
    assert found["egress"] == ("allowed", "default")
    assert found["by way of"] == ("http://****@proxy:3128", ":3")
    assert rows(config, "http://localhost/")["egress"] == ("denied", "default")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://some.example", "as a proxy's call, sent on as it is"),
        ("https://some.example", "in a tunnel, untouched"),
    ],
)
def test_says_how_other_calls_get_out(url: str, said: str, loads: Loads) -> None:
    """In the clear as a request, TLS as bytes."""
    found = rows(loads(f"version: 1\n{APIS}"), url)
    assert (found["api"], found["caught"]) == (
        ("none has this host", "no policy but egress applies"), (said, "no api names it"),
    )  # fmt: skip
