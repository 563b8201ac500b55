"""The injector of a release: who asks it about what, how it is trusted, and what becomes of pods while it is away."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from cel_expr_python import cel

from proxy.cli import _parser
from tests.support.helm import CASES, Object, one, refusal, rendered

CASE = {case.name.removesuffix("-values.yaml"): case for case in CASES}
ANNOTATED, LABELLED = "pod.backstay.dev", "namespace.backstay.dev"
INJECT = "backstay.dev/inject"


def webhooks(case: str = "minimal", **values: Any) -> dict[str, Object]:
    """Those of a release, by name."""
    objects = rendered(CASE[case], {key.replace("__", "."): value for key, value in values.items()})
    (found,) = (each for each in objects if each["kind"] == "MutatingWebhookConfiguration")
    return {webhook["name"]: webhook for webhook in found["webhooks"]}


def asked(webhook: Object, annotations: dict[str, str] | None) -> bool:
    """Whether the API server would ask it about a pod with these annotations, as far as its conditions say."""
    environment = cel.NewEnv(variables={"object": cel.Type.DYN})
    metadata: dict[str, Any] = {"name": "agent"} if annotations is None else {"annotations": annotations}
    data = {"object": {"metadata": metadata}}
    conditions = [environment.compile(each["expression"]) for each in webhook["matchConditions"]]
    values = [condition.eval(data=data).value() for condition in conditions]
    assert all(isinstance(value, bool) for value in values), values  # an error counts against the pod with `Fail`
    return all(values)


@pytest.mark.parametrize(
    ("annotations", "by_annotation", "by_namespace"),
    [
        (None, False, True),
        ({}, False, True),
        ({"prometheus.io/scrape": "true"}, False, True),
        ({INJECT: "true"}, True, False),
        ({INJECT: "false"}, False, False),
        ({INJECT: "yes"}, True, False),  # a slip: it is refused, rather than overlooked
        ({"backstay.dev/injcet": "true"}, True, True),  # likewise
        ({"backstay.dev/config": "ours"}, True, True),
        ({"config.backstay.dev/backstay.yaml": "version: 1"}, False, True),
    ],
)
def test_who_is_asked_about_which_pods(
    annotations: dict[str, str] | None, by_annotation: bool, by_namespace: bool
) -> None:
    """Pods that say nothing of Backstay never reach the webhook of annotations: its absence concerns nobody else."""
    found = webhooks()
    assert asked(found[ANNOTATED], annotations) == by_annotation
    assert asked(found[LABELLED], annotations) == by_namespace


def test_its_own_pods_are_asked_about_to_nobody() -> None:
    """Else none of them could start while none runs and `failurePolicy` is Fail."""
    objects = rendered(CASE["cert-manager"])
    pod = one(objects, "Deployment", "outward-injector")["spec"]["template"]
    for webhook in webhooks().values():
        assert not asked(webhook, pod["metadata"]["annotations"])


def matches(webhook: Object, labels: dict[str, str]) -> bool:
    """Whether a namespace with these labels is selected."""
    selector = webhook["namespaceSelector"]
    said = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return said and all(is_met(each, labels) for each in selector["matchExpressions"])


def is_met(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    return {
        "In": lambda: value in expression["values"],
        "NotIn": lambda: value not in expression["values"],
        "DoesNotExist": lambda: value is None,
    }[expression["operator"]]()


@pytest.mark.parametrize(
    ("name", "label", "by_annotation", "by_namespace"),
    [
        ("agents", None, True, False),
        ("agents", "enabled", True, True),
        ("agents", "disabled", False, False),
        ("kube-system", "enabled", False, False),
        ("prod", "enabled", False, False),  # the release's own
    ],
)
def test_which_namespaces_are_served(name: str, label: str | None, by_annotation: bool, by_namespace: bool) -> None:
    """Those without a label by annotation, labelled ones altogether, the system's and the release's never."""
    labels = {"kubernetes.io/metadata.name": name, **({INJECT: label} if label else {})}
    found = webhooks()
    assert matches(found[ANNOTATED], labels) == by_annotation
    assert matches(found[LABELLED], labels) == by_namespace


def test_namespaces_can_be_asked_more_of() -> None:
    """`injector.namespaces` is put beside what holds anyway."""
    (found,) = webhooks("cert-manager").values()  # `labelled: false`
    agents = {"kubernetes.io/metadata.name": "agents", "tier": "agents"}
    assert matches(found, agents)
    assert not matches(found, {**agents, "locked": "yes"})
    assert not matches(found, {**agents, "tier": "others"})
    assert not matches(found, {**agents, "kubernetes.io/metadata.name": "kube-public"})


def test_a_release_may_serve_its_own_namespace() -> None:
    """`excludeRelease: false`."""
    labels = {"kubernetes.io/metadata.name": "prod"}
    assert matches(webhooks("issuer")[ANNOTATED], labels)


def test_a_webhook_does_nothing_but_change_pods_that_are_made() -> None:
    """Safe for dry runs, and soon given up."""
    for webhook in webhooks().values():
        (rule,) = webhook["rules"]
        assert (rule["operations"], rule["resources"], rule["scope"]) == (["CREATE"], ["pods"], "Namespaced")
        assert webhook["sideEffects"] == "None"
        assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Ignore", 5)
        assert webhook["reinvocationPolicy"] == "IfNeeded"


def container(objects: list[Object]) -> Object:
    (found,) = (each for each in objects if each["kind"] == "Deployment")
    (only,) = found["spec"]["template"]["spec"]["containers"]
    return {**found["spec"]["template"]["spec"], **only}


@pytest.mark.parametrize("case", [name for name in CASE if name != "nothing"])
def test_its_command_line_is_one_that_it_has(case: str) -> None:
    """Its own parser takes it; what it names is mounted, read-only, and the ports are those that are called."""
    objects = rendered(CASE[case])
    found = container(objects)
    options: argparse.Namespace = _parser().parse_args(found["args"])
    mounted = {mount["mountPath"] for mount in found["volumeMounts"] if mount.get("readOnly")}
    assert {str(options.settings.parent), *map(str, options.config), str(options.tls)} == mounted
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    assert ports == {"https": options.listen.port, "bs-metrics": options.metrics.port}
    (service,) = (each for each in objects if each["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["https"]
    for webhook in webhooks(case).values():
        assert webhook["clientConfig"]["service"]["name"] == service["metadata"]["name"]


@pytest.mark.parametrize(("case", "host"), [("minimal", "0.0.0.0"), ("container", "::")])
def test_it_listens_where_it_is_reached(case: str, host: str) -> None:
    """Nobody comes to 0.0.0.0 where pods have IPv6 addresses alone."""
    options = _parser().parse_args(container(rendered(CASE[case]))["args"])
    assert (options.listen.host, options.metrics.host) == (host, host)


@pytest.mark.parametrize(
    ("case", "kinds", "has_token"),
    [
        ("minimal", {"ClusterRole", "ClusterRoleBinding", "ServiceAccount"}, True),
        ("issuer", {"Role", "RoleBinding"}, True),
        ("existing", set(), False),
    ],
)
def test_it_may_read_config_maps_and_nothing_else(case: str, kinds: set[str], has_token: bool) -> None:
    """Everywhere, in the namespaces that are listed, or nowhere: then it has no token either."""
    objects = rendered(CASE[case])
    found = [each for each in objects if each["source"] == "rbac.yaml"]
    assert {each["kind"] for each in found} == kinds
    rules = [rule for each in found for rule in each.get("rules", [])]
    assert all(rule == {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]} for rule in rules)
    assert container(objects)["automountServiceAccountToken"] == has_token


def test_it_needs_no_more_rights_than_a_sidecar() -> None:
    """User 7070, nothing writable, no capabilities."""
    context = container(rendered(CASE["minimal"]))["securityContext"]
    assert context == {
        "runAsUser": 7070,
        "runAsGroup": 7070,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_a_changed_configuration_makes_new_pods_of_it(tmp_path: Path) -> None:
    """So that what `helm upgrade --wait` has waited for is in force."""
    sums = {
        one(rendered(CASE["minimal"], values), "Deployment", "backstay-injector")["spec"]["template"]["metadata"][
            "annotations"
        ]["checksum/config"]
        for values in ({}, {"config.drain.timeout": "7s"}, {"shims": True})
    }
    assert len(sums) == 3


def test_cert_manager_says_whom_to_trust() -> None:
    """By annotation; its certificate has the name that the API server calls."""
    objects = rendered(CASE["cert-manager"])
    (hook,) = (each for each in objects if each["kind"] == "MutatingWebhookConfiguration")
    assert hook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "prod/outward-injector"
    certificate = one(objects, "Certificate", "outward-injector")["spec"]
    assert "outward-injector.prod.svc" in certificate["dnsNames"]
    assert certificate["secretName"] == "outward-injector-tls"
    assert "caBundle" not in hook["webhooks"][0]["clientConfig"]


def test_too_old_a_cluster_is_refused() -> None:
    """Before 1.29 there are no native sidecars by default."""
    assert "kubeVersion: >=1.29.0-0" in refusal(CASE["minimal"], kubernetes="1.28")
