"""Tests of how the doctor looks at an agent's variables: what is missing, wrong, or of no use to some client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.agent import surroundings
from proxy.agent.env import variables
from proxy.agent.findings import Finding
from proxy.config.settings import Address, Config, Listen, TlsIntercept
from tests.support.authority import made

OURS, OLDER = made("Ours").pem, made("Older").pem
PLAIN = Config(listen=Listen(agent=Address("127.0.0.1", 7070)))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    files = {"ca.crt": OURS, "ca-bundle.crt": OLDER + OURS, "ca-bundle.p12": b"", "wgetrc": b""}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return replace(PLAIN, tls_intercept=TlsIntercept(trust_dir=tmp_path))


@pytest.fixture
def environ(config: Config) -> dict[str, str]:
    return {variable.name: variable.value for variable in variables(config)}


def without(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def of_proxies(config: Config, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return told(list(surroundings.proxies(config, environ)))


def of_trust(config: Config, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    ours = surroundings.authority_file(config, environ)
    return told(list(surroundings.trust(config, environ, ours)))


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    assert all(bool(finding.mend) == (finding.result != "ok") for finding in findings)
    return [(finding.result, finding.what) for finding in findings if finding.result != "ok"]


def test_what_env_prints_is_well(config: Config, environ: dict[str, str]) -> None:
    """Nothing to mend."""
    assert of_proxies(config, environ) == of_trust(config, environ) == []


# --- the proxy ---------------------------------------------------------------------------------------


def test_no_proxy_variable() -> None:
    """It is needed, unless connections are redirected."""
    assert of_proxies(PLAIN, {}) == [("failed", "none is set")]
    redirected = replace(PLAIN, listen=replace(PLAIN.listen, transparent=Address("127.0.0.1", 7071)))
    assert of_proxies(redirected, {}) == []


def test_one_case_only(config: Config, environ: dict[str, str]) -> None:
    """Curl is not caught by the upper case, for one."""
    (found,) = of_proxies(config, without(environ, "http_proxy", "https_proxy"))
    assert found == ("warning", "http_proxy, https_proxy not set: some clients read one case only")


def test_two_proxies(config: Config, environ: dict[str, str]) -> None:
    """Half of the clients would miss Backstay."""
    (found,) = of_proxies(config, {**environ, "https_proxy": "http://proxy.corp:3128"})
    assert found[0] == "failed"
    assert "HTTPS_PROXY 127.0.0.1:7070, https_proxy proxy.corp:3128" in found[1]


@pytest.mark.parametrize("url", ["socks5://me:secret@x:1080", "http://:7070", "http://x:seventy"])
def test_what_is_no_proxy(config: Config, environ: dict[str, str], url: str) -> None:
    """Said without the password in it."""
    found = of_proxies(config, {**environ, "HTTP_PROXY": url})
    assert found[0][1].startswith("HTTP_PROXY is not the url of an http proxy: ")
    assert "secret" not in str(found)


def test_a_proxy_without_scheme_or_port() -> None:
    """As clients read it."""
    assert surroundings.proxy_of({"http_proxy": "backstay"}, "http") == Address("backstay", 80)
    assert surroundings.proxy_of({"HTTPS_PROXY": "http://[::1]:7070/"}, "https") == Address("::1", 7070)
    assert surroundings.proxy_of({"http_proxy": "http://x"}, "https") is None


def test_what_no_proxy_should_have_and_should_not(config: Config, environ: dict[str, str]) -> None:
    """The agent's own servers; no networks; the same in both cases."""
    assert of_proxies(config, {**environ, "NO_PROXY": "127.0.0.1,10.0.0.0/8", "no_proxy": ""}) == [
        ("warning", "NO_PROXY has no localhost: the agent does not reach its own servers"),
        ("warning", "NO_PROXY and no_proxy differ: each client reads one of them"),
        ("warning", "NO_PROXY has the network 10.0.0.0/8: httpx, aiohttp and others do not know those"),
    ]


@pytest.mark.parametrize(
    ("entry", "exempt"),
    [
        ("api.vendor.test", True),
        ("vendor.test", True),
        (".vendor.test", True),
        ("*.Vendor.test", True),
        ("*", True),
        ("dor.test", False),
        ("other.test", False),
        (".", False),
    ],
)
def test_a_host_that_no_proxy_exempts(entry: str, exempt: bool) -> None:
    """As most clients read it: itself, and what is below it."""
    assert surroundings.is_exempt({"NO_PROXY": f"localhost, {entry}"}, "api.vendor.test") == (entry if exempt else None)


def test_node_has_to_be_told(config: Config, environ: dict[str, str]) -> None:
    """It reads no proxy variable by itself."""
    (found,) = of_proxies(config, without(environ, "NODE_USE_ENV_PROXY"))
    assert "NODE_USE_ENV_PROXY" in found[1]


# --- whom to trust -----------------------------------------------------------------------------------


def test_nothing_is_to_be_trusted_without_interception(environ: dict[str, str]) -> None:
    """Nothing is signed."""
    assert surroundings.authority_file(PLAIN, environ) is None
    assert of_trust(PLAIN, {}) == []


def test_the_folder_is_not_mounted(config: Config, environ: dict[str, str]) -> None:
    """The first thing that is forgotten."""
    away = replace(config, tls_intercept=TlsIntercept(trust_dir=Path("/not/here")))
    (found,) = of_trust(away, without(environ, "NODE_EXTRA_CA_CERTS"))
    assert found == ("failed", "/not/here/ca.crt cannot be read")


def test_the_folder_is_mounted_elsewhere(config: Config, environ: dict[str, str]) -> None:
    """The variables know where."""
    away = replace(config, tls_intercept=TlsIntercept(trust_dir=Path("/not/here")))
    assert of_trust(away, environ) == []


def test_roots_of_others_are_not_taken_for_ours(config: Config, environ: dict[str, str], tmp_path: Path) -> None:
    """A company's in NODE_EXTRA_CA_CERTS: what they sign would be asked as if it were Backstay."""
    (tmp_path / "corp").mkdir()
    for name in ("ca.crt", "roots.pem"):
        (tmp_path / "corp" / name).write_bytes(OLDER)
        away = replace(config, tls_intercept=TlsIntercept(trust_dir=Path("/not/here")))
        (found,) = of_trust(away, {**environ, "NODE_EXTRA_CA_CERTS": str(tmp_path / "corp" / name)})
        assert found == ("failed", "/not/here/ca.crt cannot be read")


def test_a_variable_that_is_not_set(config: Config, environ: dict[str, str]) -> None:
    """Whose clients are not served, is said; if it is none at all, that is a failure."""
    (found,) = of_trust(config, without(environ, "AWS_CA_BUNDLE", "DENO_CERT"))
    assert found == (
        "warning",
        "not set: AWS_CA_BUNDLE (boto3), DENO_CERT (Deno); those clients refuse what Backstay signs",
    )
    assert of_trust(config, {}) == [("failed", "none is set: no client trusts what Backstay signs")]


def test_a_file_that_is_not_there(config: Config, environ: dict[str, str]) -> None:
    """The client would trust nobody."""
    (found,) = of_trust(config, {**environ, "SSL_CERT_FILE": "/not/here"})
    assert found == ("failed", "SSL_CERT_FILE: /not/here cannot be read: No such file or directory")


def test_a_file_of_an_older_authority(config: Config, environ: dict[str, str], tmp_path: Path) -> None:
    """Or of others: ours is not in it."""
    for name, data in (("older.crt", OLDER), ("none.crt", b"nothing")):
        (tmp_path / name).write_bytes(data)
        (found,) = of_trust(config, {**environ, "NODE_EXTRA_CA_CERTS": str(tmp_path / name)})
        assert found[1].endswith(f"{name} does not have the authority that Backstay signs with")


def test_what_replaces_the_roots_needs_the_others(config: Config, environ: dict[str, str], tmp_path: Path) -> None:
    """With ours alone, no host would be trusted that is not intercepted; what adds to them is right with it."""
    (found,) = of_trust(config, {**environ, "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.crt")})
    assert "has no other root" in found[1]


def test_java_and_wget(config: Config, environ: dict[str, str]) -> None:
    """They have ways of their own to be told."""
    missing = of_trust(config, without(environ, "JAVA_TOOL_OPTIONS", "SYSTEM_WGETRC"))
    assert [result for result, _ in missing] == ["warning", "warning"]
    options = environ["JAVA_TOOL_OPTIONS"].replace("ca-bundle.p12", "gone.p12")
    wrong = of_trust(config, {**environ, "JAVA_TOOL_OPTIONS": options, "SYSTEM_WGETRC": "/not/here"})
    assert [result for result, _ in wrong] == ["failed", "failed"]


def test_the_shims_need_it_too(config: Config, environ: dict[str, str], tmp_path: Path) -> None:
    """Where they are in use."""
    assert of_trust(config, {**environ, "BACKSTAY_CA": str(tmp_path / "ca.crt")}) == []
    (found,) = of_trust(config, {**environ, "BACKSTAY_CA": "/not/here"})
    assert found[1].startswith("BACKSTAY_CA: /not/here cannot be read")
