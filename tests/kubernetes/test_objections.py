"""Tests of what stands against an injection: what is skipped, what is refused, and what is only said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.kubernetes.model import Refused, Skipped
from tests.support.injected import (
    IN_THE_CLEAR,
    INSTALLATION,
    YAML,
    a_pod,
    a_supply,
    container,
    injected,
    outcome,
    warnings,
)

TRUST = "/var/run/backstay/trust"


def listening(entry: str) -> str:
    return YAML.replace("listen: {", f"listen: {{{entry}, ")


def keeping(entry: str) -> str:
    return YAML.replace("tls_intercept: {}", f"tls_intercept: {{{entry}}}")


def refusal(pod: dict[str, Any], text: str = YAML) -> str:
    with pytest.raises(Refused) as refused:
        outcome(pod, a_supply(text))
    return str(refused.value)


# --- pods that stay as they are ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"hostNetwork": True}, "the pod is in the network of its host"),
        ({"os": {"name": "windows"}}, "the pod is for Windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, "the pod is for Windows"),
    ],
)
def test_a_pod_that_cannot_have_a_sidecar_stays_as_it_is(spec: dict[str, Any], why: str) -> None:
    """Its owner asked for one, and is told."""
    found = outcome(a_pod(spec=spec))
    assert isinstance(found, Skipped)
    assert found.why.startswith(why)
    assert not found.unasked


def test_a_pod_that_has_its_sidecar_stays_as_it_is() -> None:
    """Of whatever version; another webhook that changes the pod makes nobody read of it."""
    assert outcome(injected(a_pod())) == Skipped("the pod has its sidecar already", unasked=True)


def test_a_status_alone_is_no_sidecar() -> None:
    """Annotations are copied from one manifest into another."""
    assert container(injected(a_pod(status="{}")), "backstay")


@pytest.mark.parametrize("spec", [{"hostNetwork": False}, {"os": {"name": "linux"}}, {"os": None}])
def test_a_pod_that_says_what_is_so_anyway_gets_its_sidecar(spec: dict[str, Any]) -> None:
    """The API server fills in defaults."""
    assert container(injected(a_pod(spec=spec)), "backstay")


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (listening("metrics: off"), "the configuration has no listen.metrics"),
        (listening("metrics: 127.0.0.1:9464"), "listen.metrics is 127.0.0.1:9464, where the kubelet does not reach it"),
        (listening("metrics: '[::1]:9464'"), "listen.metrics is [::1]:9464, where the kubelet does not"),
        (listening("agent: 127.0.0.1:0"), "listen.agent has port 0, which is any free one; name a port"),
        (listening("agent: '${env:HOST}:7070'"), "listen.agent is made of a variable or file of the pod"),
        (keeping("ca_dir: /var/lib/backstay"), "tls_intercept.ca_dir is /var/lib/backstay, and /var/lib/backstay has"),
        (
            keeping("ca_dir: /etc/backstay/ca"),
            "tls_intercept.ca_dir is /etc/backstay/ca, and /etc/backstay has another use",
        ),
        (keeping("trust_dir: /secrets"), "tls_intercept.trust_dir is /secrets, and /secrets has another use"),
        (
            keeping("trust_dir: /var/run/backstay"),
            "and /var/run/backstay/tools has another use in a pod; leave tls_intercept.trust_dir",
        ),
        (keeping("ca_dir: /usr"), "tls_intercept.ca_dir is /usr, and /usr/lib/backstay has another use"),
        (
            keeping("trust_dir: /opt/backstay"),
            "tls_intercept.trust_dir is /opt/backstay, and /opt/backstay has another",
        ),
        (keeping("ca_dir: '/x${env:Y}'"), "tls_intercept.ca_dir is made of a variable or file of the pod"),
        (keeping("trust_dir: '/a:b'"), "tls_intercept.trust_dir is /a:b, and a mount cannot have ':' in its path"),
        (
            YAML + "stores: {ledger: 'sqlite:/data/ledger.db'}\n",
            "stores.ledger is /data/ledger.db, where Backstay may not",
        ),
    ],
)
def test_a_configuration_that_no_pod_can_have_is_refused(text: str, said: str) -> None:
    """The sidecar would not start, or would not be found."""
    assert said in refusal(a_pod(), text)


def test_a_ledger_is_kept_where_the_sidecar_may_write() -> None:
    """Below its state, or wherever else a volume of its own is."""
    text = YAML + "stores: {ledger: 'sqlite:/var/lib/backstay/ledger.db'}\n"
    assert container(injected(a_pod(), a_supply(text)), "backstay")


@pytest.mark.parametrize("capture", ["transparent", "both"])
def test_redirection_needs_somewhere_to_redirect_to(capture: str) -> None:
    """Which the configuration has to say."""
    text = "version: 1\napis: {a: {url: https://a.test}}\n"
    said = refusal(a_pod(capture=capture), text)
    assert said.startswith(f"capture: {capture} needs listen.transparent, which the configuration does not have; write")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"containers": [{"name": "backstay"}]}, "the pod has a container named backstay, which is Backstay's name"),
        ({"initContainers": [{"name": "backstay-ca"}]}, "the pod has a container named backstay-ca"),
        ({"volumes": [{"name": "backstay-tmp", "emptyDir": {}}]}, "the pod has a volume named backstay-tmp"),
    ],
)
def test_a_name_of_ours_that_the_pod_has_is_refused(spec: dict[str, Any], said: str) -> None:
    """A sidecar that somebody placed there is not overwritten."""
    assert said in refusal(a_pod(spec=spec))


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
@pytest.mark.parametrize("volume", ["backstay-ca", "backstay-trust", "backstay-state", "backstay-secret"])
def test_a_volume_of_ours_is_no_containers_of_the_pod(kind: str, volume: str) -> None:
    """The key of the authority is in one: without the injection, the volume would not even be there to be mounted."""
    reader = {"name": "reader", "image": "x", "volumeMounts": [{"name": volume, "mountPath": "/mine"}]}
    said = refusal(a_pod(spec={kind: [reader]}))
    assert said.startswith(f"container reader mounts {volume}, which is for Backstay's containers alone; remove it")


def test_a_name_that_only_begins_like_ours_is_the_pods() -> None:
    """``backstays`` is a word."""
    assert container(injected(a_pod(spec={"containers": [{"name": "backstays"}]})), "backstay")


def test_a_configuration_that_somebody_else_put_into_annotations_is_refused() -> None:
    """It would take effect as if the installation had said it."""
    pod = a_pod()
    pod["metadata"]["annotations"]["config.backstay.dev/x.yaml"] = "version: 1"
    assert "the pod has config.backstay.dev/x.yaml, which injection sets; remove it" in refusal(pod)


def test_a_configuration_that_does_not_fit_beside_the_pods_annotations_is_refused() -> None:
    """Kubernetes takes 256 KiB of them in all."""
    pod = a_pod()
    pod["metadata"]["annotations"]["others.example/data"] = "x" * (200 << 10)
    with pytest.raises(Refused, match="it can carry 262144 in all; put the configuration into a ConfigMap"):
        outcome(pod, a_supply(YAML + "#" * (60 << 10), is_carried=True))
    assert container(injected(pod, a_supply(YAML + "#" * (60 << 10))), "backstay")


@pytest.mark.parametrize(("port", "name"), [(7070, "agent"), (9464, "metrics"), (7071, "transparent"), (7072, "admin")])
def test_a_port_that_both_listen_on_is_refused(port: int, name: str) -> None:
    """One of the two would not start."""
    said = refusal(a_pod(agent={"ports": [{"containerPort": port}]}))
    assert (
        said == f"container agent listens on port {port}, which is Backstay's listen.{name}; give one of them another"
    )


@pytest.mark.parametrize("spec", [{"securityContext": {"runAsUser": 7070}}, {}])
@pytest.mark.parametrize("asked", [{"capture": "both"}, {"sidecar": "container"}])
def test_an_agent_with_backstays_user_is_refused_where_that_tells_them_apart(spec: Any, asked: dict[str, Any]) -> None:
    """Its connections would pass the redirection, or its processes be taken for Backstay's."""
    own = {} if spec else {"securityContext": {"runAsUser": 7070}}
    said = refusal(a_pod(spec={**spec, "restartPolicy": "Never"}, agent=own, **asked))
    assert said.startswith("container agent runs as user 7070, which is Backstay's own")


def test_an_agent_with_backstays_user_is_taken_where_it_does_no_harm() -> None:
    """Variables are for whoever reads them."""
    assert container(injected(a_pod(agent={"securityContext": {"runAsUser": 7070}})), "backstay")


def test_a_plain_container_cannot_tell_the_agents_processes_from_the_hosts() -> None:
    """And Kubernetes would refuse the pod."""
    said = refusal(a_pod(spec={"restartPolicy": "Never", "hostPID": True}, sidecar="container"))
    assert "the pod sees the processes of its host" in said


@pytest.mark.parametrize(
    "mount",
    [
        {"name": "work", "mountPath": TRUST},
        {"name": "work", "mountPath": f"{TRUST}/roots/"},
        {"name": "work", "mountPath": "/var/run", "readOnly": True},
        {"name": "ways", "mountPath": "/var/run/backstay"},
    ],
)
def test_a_mount_that_leaves_no_place_for_the_trust_is_refused(mount: dict[str, Any]) -> None:
    """It would hide it, or the kubelet could not make the folder in it."""
    volumes = [{"name": "work", "emptyDir": {}}, {"name": "ways", "configMap": {"name": "x"}}]
    said = refusal(a_pod(spec={"volumes": volumes}, agent={"volumeMounts": [mount]}))
    assert said.startswith(
        f"container agent mounts {mount['mountPath'].rstrip('/')}, so that Backstay's {TRUST} cannot be"
    )


@pytest.mark.parametrize("path", ["/var/run", "/var/run/backstay/trusted", "/work"])
def test_other_mounts_do_no_harm(path: str) -> None:
    """A folder that can be written to may have others in it."""
    pod = a_pod(
        spec={"volumes": [{"name": "w", "emptyDir": {}}]}, agent={"volumeMounts": [{"name": "w", "mountPath": path}]}
    )
    assert container(injected(pod), "backstay")


def test_all_that_stands_against_it_is_said_at_once() -> None:
    """Each in a sentence."""
    said = refusal(a_pod(agent={"ports": [{"containerPort": 7070}]}), listening("metrics: off"))
    assert said.count(". ") == 1


# --- what is only said -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (a_pod(exclude_containers="nobody"), "exclude-containers names nobody, and the pod has no such container"),
        (a_pod(spec={"resources": {"limits": {"cpu": "1"}}}), "the pod has resources as a whole"),
        (a_pod(spec={"initContainers": [{"name": "istio-init"}]}, capture="both"), "a mesh redirects"),
        (
            a_pod(spec={"initContainers": [{"name": "a", "restartPolicy": "Always"}]}, sidecar="container"),
            "sidecars of the pod's own start before a plain container",
        ),
        (a_pod(spec={"restartPolicy": "OnFailure"}, sidecar="container"), "an agent that is restarted is without it"),
        (
            a_pod(spec={"restartPolicy": "Never", "shareProcessNamespace": False}, sidecar="container"),
            "shareProcessNamespace becomes true",
        ),
    ],
)
def test_what_its_owner_should_know_is_said(pod: dict[str, Any], said: str) -> None:
    """It can be done, with less than it seems."""
    assert said in warnings(pod)
    assert max(map(len, warnings(pod).splitlines())) < 240  # the API server cuts off what is longer


@pytest.mark.parametrize(
    ("spec", "drain", "said"),
    [
        (
            {"terminationGracePeriodSeconds": 120},
            "30s",
            "the agent has 120 s to end, and a plain container of Backstay",
        ),
        ({}, "10s", "drain.timeout, 10 s: calls after that fail; set drain.timeout to 30s, or use sidecar: native"),
        ({"terminationGracePeriodSeconds": 120}, "2m", None),
    ],
)
def test_an_agent_with_more_time_to_end_than_a_plain_container_is_told(
    spec: dict[str, Any], drain: str, said: str | None
) -> None:
    """Both are told to end at once; a native sidecar is told after the agent."""
    supply = a_supply(YAML + f"drain: {{timeout: {drain}}}\n")
    found = warnings(a_pod(spec=spec, sidecar="container"), supply)
    assert found == "" if said is None else said in found
    assert warnings(a_pod(spec=spec), supply) == ""


def test_that_https_is_not_looked_into_is_said() -> None:
    """Most would think otherwise."""
    assert "the configuration has no tls_intercept" in warnings(a_pod(), a_supply(IN_THE_CLEAR))


def test_a_pod_with_nothing_of_the_kind_is_told_nothing() -> None:
    """Warnings that always come are not read."""
    pods = [a_pod(), a_pod(capture="both", sidecar="container"), a_pod(spec={"restartPolicy": "Never"})]
    assert [warnings(pod) for pod in pods] == ["", "", ""]


def test_another_user_of_backstays_is_looked_for() -> None:
    """As the installation says."""
    installation = replace(INSTALLATION, uid=1000)
    with pytest.raises(Refused, match="runs as user 1000"):
        outcome(a_pod(agent={"securityContext": {"runAsUser": 1000}}, capture="both"), installation=installation)
