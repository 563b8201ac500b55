"""The rules for captured traffic: entries without effect, apis that nothing would reach, a key in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from proxy.config.load import Problem

Complains: TypeAlias = Callable[..., list[Problem]]
API = "apis: {x: {url: http://vendor.example}}\n"


def about(problems: list[Problem]) -> list[str]:
    return [f"{problem.path}: {problem.message}; {problem.remedy}" for problem in problems]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ("allow: [x.example, X.Example]", "allow.1: 'X.Example' is listed twice; keep the first"),
        ("deny: [10.0.0.0/8, 1.2.3.4, 1.2.3.4/32]", "deny.2: '1.2.3.4/32' is listed twice; keep the first"),
        ("deny: [x.example], allow: [x.example]", "allow.0: 'x.example' is denied by 'x.example' in deny ("),
        ("deny: ['*.y'], allow: [a.y, b.y]", "allow.0: 'a.y' is denied by '*.y' in deny ("),
        ("deny: ['*.y'], allow: ['*.b.y:80']", "allow.0: '*.b.y:80' is denied by '*.y' in deny ("),
        (
            "deny: [10.0.0.0/8], allow: ['10.1.0.0/16:80']",
            "allow.0: '10.1.0.0/16:80' is denied by '10.0.0.0/8' in deny (",
        ),
        ("deny: ['fd00::/8'], allow: ['fd00::1']", "allow.0: 'fd00::1' is denied by 'fd00::/8' in deny ("),
        ("deny: ['y:80'], allow: ['y:80']", "allow.0: 'y:80' is denied by 'y:80' in deny ("),
        ("allow: ['http://y']", "allow.0: 'http://y' is not a host, an address or a network; write its host"),
        ("allow: y", "allow: 'y' is not a list; write [y]"),
        ("unlisted: off", "unlisted: 'off' is not one of allow, report, deny; write one of"),
        (
            "pass_through: [y]",
            "pass_through: nothing is intercepted, so that this has no effect; add tls_intercept: {}",
        ),
        ("allowed: [y]", "allowed: unknown key 'allowed'; did you mean 'allow'?"),
    ],
)
def test_entries_that_are_mistakes(lists: str, message: str, complains: Complains) -> None:
    """What is said twice, and what never has an effect; each at its entry."""
    said = about(complains(f"version: 1\n{API}egress: {{{lists}}}\n"))
    assert said[0].startswith(f"egress.{message}")


@pytest.mark.parametrize(
    "lists",
    [
        "deny: [a.y], allow: ['*.y', y]",
        "deny: ['*.y'], allow: [y, ay, '*.ay']",
        "deny: ['y:80'], allow: [y, 'y:81']",
        "deny: [10.1.0.0/16, 'fd00::/8', y], allow: [10.0.0.0/8, 10.2.0.0/16, '::1', z]",
        "deny: [10.0.0.0/8], allow: [y]",
        "unlisted: deny, private_networks: deny, allow: ['[fd00::/8]:443', 169.254.169.254]",
    ],
)
def test_entries_that_mean_something(lists: str, loads: Callable[[str], object]) -> None:
    """An exception may stand beside its rule: deny goes before allow."""
    assert loads(f"version: 1\n{API}egress: {{{lists}}}\n")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("{ca_dir: ca}", "ca_dir: 'ca' is not the path of a folder; write it with a slash first"),
        ("{ca_dir: /a/b, trust_dir: /a/./b/}", "trust_dir: ca_dir and trust_dir are the same folder: the agent mounts"),
        ("{ca_dir: /a/b, trust_dir: /a}", "trust_dir: one of ca_dir and trust_dir is within the other: the agent"),
        ("{ca_dir: /a, trust_dir: /a/b}", "trust_dir: one of ca_dir and trust_dir is within the other: the agent"),
        ("{ca_dir: /var/run/backstay/trust/ca}", "ca_dir: one of ca_dir and trust_dir is within the other: the agent"),
        ("{ca_dir: /, trust_dir: [x]}", "trust_dir: a list is not the path of a folder; write it"),
        ("on", ": 'on' is not a mapping of keys; write the keys below it, indented"),
    ],
)
def test_the_key_is_nowhere_that_the_agent_can_see(folders: str, message: str, complains: Complains) -> None:
    """It mounts one folder of the two."""
    (said,) = about(complains(f"version: 1\n{API}tls_intercept: {folders}\n"))
    assert said.startswith(f"tls_intercept{'' if message.startswith(':') else '.'}{message}")


def test_a_link_from_one_folder_to_the_other_is_seen(tmp_path: Path, complains: Complains) -> None:
    """What counts is where it ends."""
    (tmp_path / "trust").mkdir()
    (tmp_path / "ca").symlink_to(tmp_path / "trust")
    folders = f"{{ca_dir: {tmp_path}/ca, trust_dir: {tmp_path}/trust}}"
    (problem,) = complains(f"version: 1\n{API}tls_intercept: {folders}\n")
    assert problem.message.startswith("ca_dir and trust_dir are the same folder")


def test_folders_side_by_side_are_fine(loads: Callable[[str], object]) -> None:
    """Also where one's name begins like the other's."""
    assert loads(f"version: 1\n{API}tls_intercept: {{ca_dir: /a/b, trust_dir: /a/bc}}\n")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "http://169.254.169.254",
            "this is a metadata service, which gives out the credentials of the machine: nothing",
        ),
        ("http://[fd00:ec2::254]/x", "this is a metadata service"),
        ("http://0xa9fea9fe", "this is a metadata service"),
        ("https://denied.example", "egress.deny has 'denied.example' ("),
        ("http://10.1.2.3", "egress.deny has '10.0.0.0/8' ("),
        ("https://vendor.example:8443", "egress.deny has 'vendor.example:8443' ("),
        (
            "http://127.0.0.1:7070",
            "Backstay itself listens there, and refuses to call itself; write the address of the up",
        ),
        ("http://localhost:9464/metrics", "Backstay itself listens there"),
        ("http://[::ffff:127.0.0.1]:7072", "Backstay itself listens there"),
        ("http://a..b", "its host is neither a name nor an address; correct it"),
    ],
)
def test_an_api_that_nothing_would_reach(url: str, message: str, complains: Complains) -> None:
    """Egress is asked what it would say: at the url, with the entry that stands in its way."""
    egress = "egress: {deny: [10.0.0.0/8, denied.example, 'vendor.example:8443']}"
    (problem,) = complains(f"version: 1\n{egress}\napis: {{x: {{url: '{url}'}}}}\n")
    assert (problem.line, problem.path) == (3, "apis.x.url")
    assert f"{problem.message}; {problem.remedy}".startswith(message)


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http://169.254.169.254", "egress: {allow: [169.254.169.254]}"),
        ("http://10.1.2.3", "egress: {private_networks: deny, unlisted: deny}"),
        ("http://localhost:7071", ""),
        ("https://vendor.example", "egress: {deny: ['vendor.example:80', '*.vendor.example']}"),
        ("http://127.0.0.1:7070", "listen: {agent: '127.0.0.1:0'}"),
        ("http://127.0.0.1:7070", "listen: {agent: 'sidecar:7070'}"),
    ],
)
def test_an_api_that_egress_lets_be(url: str, more: str, loads: Callable[[str], object]) -> None:
    """Private networks and `unlisted` are no matter of apis; what a name resolves to is not known here."""
    assert loads(f"version: 1\n{more}\napis: {{x: {{url: '{url}'}}}}\n")


def test_behind_a_proxy_names_are_all_there_is(complains: Complains, loads: Callable[[str], object]) -> None:
    """A metadata service is known by its name where no address will be seen; localhost is the proxy's own."""
    proxied = "version: 1\nupstream_proxy: http://proxy:3128\napis: {x: {url: 'http://metadata.google.internal'}}\n"
    (problem,) = complains(proxied)
    assert problem.message.startswith("this is a metadata service")
    assert loads(proxied + "egress: {allow: [metadata.google.internal]}\n")
    assert loads("version: 1\nupstream_proxy: http://proxy:3128\napis: {x: {url: 'http://localhost:7070'}}\n")


def test_a_broken_list_proves_nothing_about_apis(complains: Complains) -> None:
    """What is allowed is not known yet."""
    text = "version: 1\negress: {allow: [169.254.169.254, 5]}\napis: {x: {url: 'http://169.254.169.254'}}\n"
    assert [problem.path for problem in complains(text)] == ["egress.allow.1"]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:7070", "http://localhost:9464", "http://u:p@0.0.0.0:7070"])
def test_backstay_is_no_proxy_of_its_own(proxy: str, complains: Complains) -> None:
    """Neither for all nor for one; every call would come back to it."""
    text = f"version: 1\nupstream_proxy: {proxy}\napis: {{x: {{url: http://x.example, upstream_proxy: '{proxy}'}}}}\n"
    assert about(complains(text)) == [
        f"{path}: Backstay itself listens there, and refuses to call itself; write the address of the proxy, or off"
        for path in ("upstream_proxy", "apis.x.upstream_proxy")
    ]


def test_a_host_that_is_hidden_stays_so(complains: Complains) -> None:
    """Entries from the environment are shown with a mask."""
    text = "version: 1\negress: {deny: ['${env:H}']}\napis: {x: {url: 'https://${env:H}'}}\n"
    (problem,) = complains(text, H="s3cret.example")
    assert problem.message.startswith("egress.deny has '****' (")
    assert "s3cret" not in str(problem)
