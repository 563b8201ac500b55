"""Tests of what an agent's container gets, and of what it keeps."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy.agent.env import Place, render, variables
from tests.support.injected import (
    IN_THE_CLEAR,
    YAML,
    a_pod,
    a_supply,
    container,
    environment,
    injected,
    warnings,
)

PROXY = "http://127.0.0.1:7070"
BUNDLE = "/var/run/backstay/trust/ca-bundle.crt"


def own(*entries: dict[str, Any]) -> dict[str, Any]:
    return a_pod(agent={"env": list(entries)}, shims="true")


def test_an_agent_gets_what_the_command_prints() -> None:
    """``backstay env --format kubernetes``, entry by entry."""
    config = a_supply().config
    printed = yaml.safe_load(render(variables(config, Place()), "kubernetes"))
    assert container(injected(a_pod()), "agent")["env"] == printed


@pytest.mark.parametrize("capture", ["env", "both"])
def test_an_agent_whose_calls_are_caught_by_variables_knows_the_proxy(capture: str) -> None:
    """And trusts it."""
    found = environment(injected(a_pod(capture=capture)))
    assert (found["HTTPS_PROXY"], found["https_proxy"], found["SSL_CERT_FILE"]) == (PROXY, PROXY, BUNDLE)


def test_an_agent_that_is_redirected_knows_of_trust_alone() -> None:
    """Not of a proxy, which it would ask for what is private."""
    found = environment(injected(a_pod(capture="transparent", shims="true")))
    assert not [name for name in found if name.upper().endswith("PROXY")]
    assert found["SSL_CERT_FILE"] == BUNDLE
    assert found["JAVA_TOOL_OPTIONS"] == "-Djavax.net.ssl.trustStore=/var/run/backstay/trust/ca-bundle.p12"
    assert found["PYTHONPATH"] == "/var/run/backstay/trust/shims"


def test_an_agent_reads_what_to_trust_and_does_not_write_it() -> None:
    """Nor does it see the key."""
    mounts = container(injected(a_pod()), "agent")["volumeMounts"]
    assert mounts == [{"name": "backstay-trust", "mountPath": "/var/run/backstay/trust", "readOnly": True}]


def test_without_interception_there_is_nothing_to_trust() -> None:
    """Nor to mount."""
    pod = injected(a_pod(), a_supply(IN_THE_CLEAR))
    assert "volumeMounts" not in container(pod, "agent")
    assert "SSL_CERT_FILE" not in environment(pod)


def test_shims_have_a_place_without_interception_too() -> None:
    """They are about proxies as much as about trust."""
    pod = injected(a_pod(shims="true"), a_supply(IN_THE_CLEAR))
    assert environment(pod)["PYTHONPATH"] == "/var/run/backstay/trust/shims"
    assert container(pod, "agent")["volumeMounts"][0]["mountPath"] == "/var/run/backstay/trust"


@pytest.mark.parametrize(
    ("name", "joined"),
    [
        ("PYTHONPATH", "/var/run/backstay/trust/shims:mine"),
        ("NODE_OPTIONS", "--require /var/run/backstay/trust/shims/backstay.cjs mine"),
        ("NO_PROXY", "mine,localhost,127.0.0.1,::1,.svc,.cluster.local,$(KUBERNETES_SERVICE_HOST)"),
    ],
)
def test_a_variable_that_is_a_list_is_joined(name: str, joined: str) -> None:
    """What the agent had stays at work."""
    pod = own({"name": name, "value": "mine"})
    assert environment(injected(pod))[name] == joined
    assert warnings(pod) == ""


def test_an_agents_java_options_come_after_ours() -> None:
    """The later counts, so that it can overrule them."""
    found = environment(injected(own({"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"})))["JAVA_TOOL_OPTIONS"]
    assert found.startswith("-Dhttp.proxyHost=127.0.0.1 ")
    assert found.endswith(" -Xmx1g")


def test_what_is_called_directly_is_so_in_both_cases() -> None:
    """Some clients read the one that the agent has not set."""
    found = environment(injected(own({"name": "no_proxy", "value": "a.test, localhost"})))
    assert found["NO_PROXY"] == found["no_proxy"]
    assert found["no_proxy"].split(",")[:3] == ["a.test", "localhost", "127.0.0.1"]


def test_an_empty_list_becomes_ours() -> None:
    """There is nothing to join."""
    found = environment(injected(own({"name": "PYTHONPATH", "value": ""}, {"name": "NODE_OPTIONS"})))
    assert found["PYTHONPATH"] == "/var/run/backstay/trust/shims"
    assert found["NODE_OPTIONS"] == "--require /var/run/backstay/trust/shims/backstay.cjs"


def test_a_proxy_of_the_agents_own_stays_and_is_told() -> None:
    """In both cases: the other would overrule it for clients that read that one."""
    pod = own({"name": "HTTPS_PROXY", "value": "http://proxy.corp:3128"})
    found = environment(injected(pod))
    assert found["HTTPS_PROXY"] == "http://proxy.corp:3128"
    assert "https_proxy" not in found
    assert warnings(pod) == (
        "container agent sets HTTPS_PROXY itself, and that stays: clients that read it may go past Backstay; remove it "
        "there if their calls should be caught"
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "SSL_CERT_FILE", "value": "/corp.pem"},
        {"name": "SSL_CERT_FILE", "value": ""},
        {"name": "SSL_CERT_FILE", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
        {"name": "PYTHONPATH", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
    ],
)
def test_trust_of_the_agents_own_stays_and_is_told(entry: dict[str, Any]) -> None:
    """What is taken from elsewhere cannot be joined: nobody here knows it."""
    pod = own(entry)
    assert entry in container(injected(pod), "agent")["env"]
    assert f"container agent sets {entry['name']} itself" in warnings(pod)
    assert "may not trust it" in warnings(pod)


def test_an_agent_that_keeps_much_is_told_in_a_line() -> None:
    """The API server cuts it off after 256 characters, and the remedy is at its end."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO")
    pod = own(*({"name": name, "value": "/corp.pem"} for name in names))
    said = warnings(pod)
    assert "sets SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and 2 more itself" in said
    assert len(said) < 240
    few = own(*({"name": name, "value": "/corp.pem"} for name in names[:3]))
    assert "sets SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE itself" in warnings(few)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"configMapRef": {"name": "proxy-env"}}, "of HTTP_PROXY, HTTPS_PROXY, "),
        (
            {"prefix": "SSL_", "secretRef": {"name": "corp"}},
            "has envFrom: what it sets there of SSL_CERT_FILE is overruled",
        ),
        ({"prefix": "APP_", "secretRef": {"name": "keys"}}, ""),
    ],
)
def test_what_an_agent_takes_from_elsewhere_is_overruled_and_told(source: dict[str, Any], said: str) -> None:
    """Kubernetes puts ``env`` over it, and nobody here can look into it."""
    found = warnings(a_pod(agent={"envFrom": [source]}))
    assert said in found if said else not found
    assert len(found) < 240


def test_what_an_agent_sets_under_env_is_not_taken_from_elsewhere() -> None:
    """It is said once that it stays."""
    said = warnings(a_pod(agent={"env": [{"name": "SSL_CERT_FILE", "value": "/a"}], "envFrom": [{"prefix": "SSL_"}]}))
    assert "sets SSL_CERT_FILE itself" in said
    assert "envFrom" not in said


def test_an_agent_that_says_the_same_is_not_told() -> None:
    """A chart may have placed the variables already."""
    pod = own({"name": "HTTPS_PROXY", "value": PROXY}, {"name": "SSL_CERT_FILE", "value": BUNDLE})
    assert warnings(pod) == ""


def test_a_containers_env_may_be_null() -> None:
    """YAML writes an empty list so."""
    assert environment(injected(a_pod(agent={"env": None, "volumeMounts": None})))["HTTPS_PROXY"] == PROXY


def test_what_a_configuration_says_does_not_expand_in_the_agent() -> None:
    """``$(...)`` is the kubelet's."""
    text = YAML.replace("tls_intercept: {}", "tls_intercept: {trust_dir: /run/$(X)}")
    assert environment(injected(a_pod(), a_supply(text)))["SSL_CERT_FILE"] == "/run/$$(X)/ca-bundle.crt"


def test_excluded_containers_and_those_of_a_mesh_get_nothing() -> None:
    """They are no agents."""
    spec = {"containers": [{"name": "agent"}, {"name": "db"}, {"name": "istio-proxy"}]}
    pod = injected(a_pod(spec=spec, exclude_containers="db"))
    assert environment(pod, "agent")
    assert container(pod, "db") == {"name": "db"}
    assert container(pod, "istio-proxy") == {"name": "istio-proxy"}
