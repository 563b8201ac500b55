"""Tests of the variables that an agent gets: which, with what in them, and how each reader finds them written."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from proxy.agent.env import NoAddress, Place, kubernetes_value, render, trust_variables, variables
from proxy.agent.variable import FORMATS, Format, Variable
from proxy.config.settings import Address, Api, Config, Listen, TlsIntercept
from proxy.core.egress import EgressSettings

TRUST = Path("/run/trust")
PLAIN = Config(listen=Listen(agent=Address("127.0.0.1", 7070)))
INTERCEPTING = replace(PLAIN, tls_intercept=TlsIntercept(trust_dir=TRUST))
REPLACING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "GIT_SSL_CAINFO",
)


HERE = Place()
DIRECT = ("localhost", "127.0.0.1", "[::1]", "tools.default.svc", "api.stripe.com")


def values(config: Config, place: Place = HERE, *, with_base_urls: bool = False) -> dict[str, str]:
    found = variables(config, place, with_base_urls=with_base_urls)
    assert len({variable.name for variable in found}) == len(found)
    return {variable.name: variable.value for variable in found}


def with_api(host: str, mount: str | None = "/api", base_path: str = "") -> Config:
    return replace(PLAIN, apis=(Api("api", "https", host, 443, base_path=base_path, mount=mount),))


# --- which variables, with what in them -------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_the_proxy_is_there_in_both_cases(name: str) -> None:
    """Curl takes http_proxy in lower case only, others the upper."""
    found = values(PLAIN)
    assert found[name] == found[name.lower()] == "http://127.0.0.1:7070"


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.1.2.3", "10.1.2.3")])
def test_where_all_addresses_are_listened_on_the_agent_is_told_its_own_loopback(host: str, told: str) -> None:
    """They are in one pod."""
    found = values(replace(PLAIN, listen=Listen(agent=Address(host, 8080))))
    assert found["HTTPS_PROXY"] == f"http://{told}:8080"
    assert told.strip("[]") in found["NO_PROXY"].split(",")


def test_from_another_container_it_is_where_one_says() -> None:
    """Its base urls must not lead through it, back to itself."""
    found = values(PLAIN, Place(agent=Address("backstay", 7070)))
    assert found["https_proxy"] == "http://backstay:7070"
    assert found["no_proxy"].split(",")[:4] == ["localhost", "127.0.0.1", "::1", "backstay"]


def test_a_port_that_nobody_knows() -> None:
    """Any free one cannot be told to anybody."""
    with pytest.raises(NoAddress, match="port 0"):
        values(replace(PLAIN, listen=Listen(agent=Address("127.0.0.1", 0))))


def test_no_proxy_has_names_and_addresses_and_no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Httpx and aiohttp do not understand those; what is there, httpx does."""
    found = values(PLAIN)
    assert found["NO_PROXY"] == found["no_proxy"] == "localhost,127.0.0.1,::1,.svc,.cluster.local"
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.setenv(name, found[name])
    with httpx.Client() as client:
        ways = {host: client._transport_for_url(httpx.URL(f"http://{host}/")) for host in DIRECT}
        assert [host for host, way in ways.items() if way is not client._transport] == ["api.stripe.com"]


@pytest.mark.parametrize("private", ["allow", "deny"])
def test_the_cluster_is_called_directly_unless_the_policy_says_something_of_it(private: str) -> None:
    """Then it decides, and is asked."""
    found = values(replace(PLAIN, egress=EgressSettings(private_networks=private)))
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1"


def test_an_api_in_the_cluster_is_not_called_directly() -> None:
    """It would get no policy."""
    assert values(with_api("search.tools.svc"))["NO_PROXY"] == "localhost,127.0.0.1,::1,.cluster.local"


def test_nothing_is_to_be_trusted_where_nothing_is_intercepted() -> None:
    """A bundle that is not there would leave an agent without any root."""
    found = values(PLAIN)
    assert not {*REPLACING, "NODE_EXTRA_CA_CERTS", "DENO_CERT", "SYSTEM_WGETRC"} & set(found)
    assert "trustStore" not in found["JAVA_TOOL_OPTIONS"]


@pytest.mark.parametrize("name", REPLACING)
def test_what_replaces_the_roots_gets_all_of_them(name: str) -> None:
    """Hosts that are not intercepted must be trusted as before."""
    assert values(INTERCEPTING)[name] == "/run/trust/ca-bundle.crt"


@pytest.mark.parametrize("name", ["NODE_EXTRA_CA_CERTS", "DENO_CERT"])
def test_what_adds_to_the_roots_gets_ours(name: str) -> None:
    """The others it has."""
    assert values(INTERCEPTING)[name] == "/run/trust/ca.crt"


def test_java_and_wget_are_told_in_their_own_way() -> None:
    """They read none of the others."""
    found = values(INTERCEPTING)
    assert found["SYSTEM_WGETRC"] == "/run/trust/wgetrc"
    assert found["JAVA_TOOL_OPTIONS"].split(" ") == [
        "-Dhttp.proxyHost=127.0.0.1",
        "-Dhttp.proxyPort=7070",
        "-Dhttps.proxyHost=127.0.0.1",
        "-Dhttps.proxyPort=7070",
        "-Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1]|*.svc|*.cluster.local",
        "-Djavax.net.ssl.trustStore=/run/trust/ca-bundle.p12",
    ]


def test_node_is_told_to_read_the_variables() -> None:
    """Node 24 has to be asked to."""
    assert values(PLAIN)["NODE_USE_ENV_PROXY"] == "1"


def test_the_shims_are_off_unless_asked_for() -> None:
    """What loads code into an agent is for its owner to decide."""
    assert not {"PYTHONPATH", "NODE_OPTIONS", "BACKSTAY_CA"} & set(values(INTERCEPTING))
    found = values(INTERCEPTING, Place(shims=Path("/run/my shims")))
    assert found["PYTHONPATH"] == "/run/my shims"
    assert found["NODE_OPTIONS"] == '--require "/run/my shims/backstay.cjs"'
    assert found["BACKSTAY_CA"] == "/run/trust/ca.crt"
    assert "BACKSTAY_CA" not in values(PLAIN, Place(shims=TRUST))


# --- base urls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "base_path", "name", "path"),
    [
        ("api.openai.com", "", "OPENAI_BASE_URL", "/api/v1"),
        ("api.openai.com", "/v1", "OPENAI_BASE_URL", "/api"),
        ("api.anthropic.com", "", "ANTHROPIC_BASE_URL", "/api"),
        ("generativelanguage.googleapis.com", "", "GOOGLE_GEMINI_BASE_URL", "/api"),
        ("api.cohere.com", "", "CO_API_URL", "/api"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "/api"),
    ],
)
def test_an_sdk_is_pointed_at_its_mount(host: str, base_path: str, name: str, path: str) -> None:
    """With the path that the SDK's own base url has, as far as the api's url has not."""
    config = with_api(host, base_path=base_path)
    assert values(config, with_base_urls=True)[name] == f"http://127.0.0.1:7070{path}"
    assert name not in values(config)


@pytest.mark.parametrize(
    ("mount", "base_path"),
    [(None, ""), ("/api", "/v2")],
    ids=["no mount", "a mount for another version"],
)
def test_an_sdk_that_cannot_be_pointed_is_left_alone(mount: str | None, base_path: str) -> None:
    """Its calls would end elsewhere than it means."""
    assert values(with_api("api.openai.com", mount, base_path), with_base_urls=True) == values(PLAIN)


def test_the_first_of_two_apis_at_one_vendor_is_meant() -> None:
    """There is one variable for both."""
    apis = tuple(Api(name, "https", "api.openai.com", 443, mount=f"/{name}") for name in ("a", "b"))
    assert values(replace(PLAIN, apis=apis), with_base_urls=True)["OPENAI_BASE_URL"].endswith("/a/v1")


# --- how they are written ----------------------------------------------------------------------------

ODD = [
    Variable("QUOTES", 'it\'s "so" $HOME $(id) `id` \\ #x', "reads: everything"),
    Variable("PYTHONPATH", "/a b", "joins", joined_by=":"),
]


@pytest.mark.parametrize("style", FORMATS)
def test_each_variable_says_who_reads_it(style: Format) -> None:
    """In a comment above it."""
    lines = render(variables(INTERCEPTING), style).splitlines()
    for number, line in enumerate(lines):
        if re.search(r"\b[A-Za-z_0-9]+=|- name:", line) and not line.startswith("#"):
            assert len(lines[number - 1].removeprefix("# ")) > 2


def test_a_shell_takes_them_as_they_are() -> None:
    """Quoted, and before what the agent had already."""
    script = 'PYTHONPATH=/had\neval "$1"\neval "$2"\nexec env -0'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", render(variables(INTERCEPTING), "shell"), render(ODD, "shell")],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert found["QUOTES"] == ODD[0].value
    assert found["PYTHONPATH"] == "/a b:/had"
    assert values(INTERCEPTING).items() <= found.items()


def test_a_list_that_was_empty_gets_no_separator() -> None:
    """An empty entry of PYTHONPATH would be the working directory."""
    script = 'eval "$1"\nprintf %s "$PYTHONPATH"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", render(ODD, "shell")], env={}, capture_output=True, check=True
    )
    assert done.stdout == b"/a b"


def test_dotenv_has_no_quotes_where_it_needs_none() -> None:
    """``docker run --env-file`` would take them for a part of the value."""
    lines = render(variables(INTERCEPTING), "dotenv").splitlines()
    assert "NO_PROXY=localhost,127.0.0.1,::1,.svc,.cluster.local" in lines
    assert not [line for line in lines if "'" in line and not line.startswith("#")]
    assert render(ODD[:1], "dotenv").splitlines()[1] == "QUOTES='it\\'s \"so\" $HOME $(id) `id` \\\\ #x'"


def test_kubernetes_gets_entries_of_env() -> None:
    """A container's list, in which only what is meant so is filled in."""
    found = yaml.safe_load(render([*variables(INTERCEPTING), *ODD], "kubernetes"))
    entries = {entry["name"]: entry["value"] for entry in found}
    assert entries["QUOTES"] == ODD[0].value.replace("$(", "$$(")
    assert entries["NO_PROXY"].endswith(".cluster.local,$(KUBERNETES_SERVICE_HOST)")
    assert entries["SSL_CERT_FILE"] == "/run/trust/ca-bundle.crt"
    assert json.dumps(entries)


# --- for an agent that is redirected ------------------------------------------------------------------


def test_a_redirected_agent_is_told_whom_to_trust_and_of_no_proxy() -> None:
    """It would ask the proxy for what is private, and be refused."""
    told = values(INTERCEPTING)
    trust = {variable.name: variable.value for variable in trust_variables(INTERCEPTING)}
    assert {name: told[name] for name in (*REPLACING, "NODE_EXTRA_CA_CERTS", "DENO_CERT")}.items() <= trust.items()
    assert not [name for name in trust if name.upper().endswith("PROXY")]
    assert trust["JAVA_TOOL_OPTIONS"] == "-Djavax.net.ssl.trustStore=/run/trust/ca-bundle.p12"


def test_without_interception_a_redirected_agent_is_told_nothing() -> None:
    """Its calls pass as they are."""
    assert trust_variables(PLAIN) == []


def test_a_redirected_agent_loads_the_shims_that_there_are() -> None:
    """Some clients trust only a list of their own."""
    told = [variable.name for variable in trust_variables(PLAIN, Place(shims=Path("/shims")))]
    assert told == ["PYTHONPATH", "NODE_OPTIONS"]


def test_a_value_for_the_kubelet_keeps_what_only_looks_like_a_reference() -> None:
    """``$$(`` is a ``$(`` that stays."""
    assert kubernetes_value(Variable("X", "$(Y)", "")) == "$$(Y)"
