"""The sidecar that a chart places is the one that injection puts in, and the agent's variables are the same."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.kubernetes.annotations import read
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Installation, Patch, Wish
from proxy.kubernetes.settings import load
from proxy.kubernetes.supply import from_config_map
from tests.support.helm import CASES, Object, example, one, refusal, rendered
from tests.support.injected import a_pod, container, injected, patched
from tests.support.process import command

PLACED = [case for case in CASES if case.name.split("-")[0] in {"minimal", "transparent", "container", "monitoring"}]
by_case = pytest.mark.parametrize("case", PLACED, ids=lambda case: case.name.removesuffix("-values.yaml"))
CASES_BY_NAME = {case.name.removesuffix("-values.yaml"): case for case in CASES}
RIGHTS = {
    "runAsUser": 1001,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": True,
    "capabilities": {"add": ["NET_RAW"]},
    "seccompProfile": {"type": "Unconfined"},
}
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example(tmp_path_factory.mktemp("charts"))


def below_backstay(case: Path, folder: Path) -> Path:
    """The values of a case, for a chart that depends on this one; its agent has the image whose roots are copied."""
    values = yaml.safe_load(case.read_text(encoding="utf-8"))
    values["agentImages"] = [{"image": "registry.example.com/agent:7", "securityContext": RIGHTS}]
    for ours_alone in ("env", "envFrom", "volumeMounts", "terminationGracePeriodSeconds"):
        values.pop(ours_alone, None)
    values["injector"] = {**values.get("injector", {}), "enabled": True}
    (folder / "values.yaml").write_text(
        yaml.safe_dump({"image": "registry.example.com/agent:7", "securityContext": RIGHTS, "backstay": values})
    )
    return folder / "values.yaml"


def by_injection(objects: list[Object], folder: Path, secret: str | None) -> Object:
    """The pod of the example without what the chart has put in, injected by the chart's own settings."""
    settings = one(objects, "ConfigMap", "my-backstay-injector")["data"]["settings.yaml"]
    (folder / "settings.yaml").write_text(settings)
    installation = load(folder / "settings.yaml")
    pod = bare(one(objects, "Deployment", "my"), secret)
    wish = read(pod, installation)
    assert isinstance(wish, Wish)
    supply = from_config_map("my-backstay", one(objects, "ConfigMap", "my-backstay")["data"])
    patch = inject(pod, wish, installation, supply)
    assert isinstance(patch, Patch)
    return patched(pod, patch)


def bare(deployment: Object, secret: str | None) -> Object:
    """An agent as it would be without Backstay."""
    agent = deepcopy(deployment["spec"]["template"]["spec"]["containers"][-1])
    agent = {key: agent[key] for key in ("name", "image", "command", "securityContext")}
    annotations = {"backstay.dev/inject": "true", "backstay.dev/config": "my-backstay"}
    annotations |= {"backstay.dev/secret": secret} if secret else {}
    spec = {"automountServiceAccountToken": False, "containers": [agent]}
    return {"metadata": {"labels": {"app": "my"}, "annotations": annotations}, "spec": spec}


@by_case
def test_what_a_chart_places_is_what_injection_puts_in(case: Path, chart: Path, tmp_path: Path) -> None:
    """Containers, volumes, variables, time to end: every field."""
    objects = rendered(below_backstay(case, tmp_path), chart=chart, release="my")
    secret = yaml.safe_load(case.read_text()).get("secret", {}).get("existing")
    placed = one(objects, "Deployment", "my")["spec"]["template"]
    put_in = by_injection(objects, tmp_path, secret)
    assert normal(placed["spec"]) == normal(put_in["spec"])
    assert placed["metadata"]["labels"] == put_in["metadata"]["labels"]


def test_roots_that_are_mounted_are_copied_as_by_injection(chart: Path) -> None:
    """The author of a chart names what injection finds."""
    mount = {"name": "corp", "mountPath": "/etc/ssl/certs/ca-certificates.crt", "subPath": "ca.crt"}
    image = {"image": "registry.example.com/agent:7", "volumeMounts": [mount]}
    placed = one(rendered({"backstay.agentImages": [image]}, chart=chart, release="my"), "Deployment", "my")
    pod = a_pod(spec={"volumes": [{"name": "corp", "configMap": {"name": "x"}}]}, agent={"volumeMounts": [mount]})
    found = [
        container(each, "backstay-roots-1")["volumeMounts"] for each in (placed["spec"]["template"], injected(pod))
    ]
    assert found[0] == found[1]
    assert {**mount, "readOnly": True} in found[0]


@by_case
def test_annotations_for_others_are_the_same(case: Path, chart: Path, tmp_path: Path) -> None:
    """For scrapes, and for the cluster's autoscaler; those of Backstay itself differ, as it is not to be injected."""
    objects = rendered(below_backstay(case, tmp_path), chart=chart, release="my")
    secret = yaml.safe_load(case.read_text()).get("secret", {}).get("existing")
    placed = one(objects, "Deployment", "my")["spec"]["template"]["metadata"]["annotations"]
    put_in = by_injection(objects, tmp_path, secret)["metadata"]["annotations"]
    assert placed["backstay.dev/inject"] == "false"
    assert of_others(placed) == of_others(put_in)


def of_others(annotations: dict[str, str]) -> dict[str, str]:
    """But the one that only tells kubectl which container is meant, which the chart's author says."""
    return {key: value for key, value in annotations.items() if "backstay.dev/" not in key and key != DEFAULT_CONTAINER}


def normal(spec: Any) -> Any:
    """With lists of named things in order of their names, where the order means nothing."""
    found = deepcopy(spec)
    found["volumes"].sort(key=lambda volume: volume["name"])
    for each in (*found.get("initContainers", []), *found["containers"]):
        each.get("volumeMounts", []).sort(key=lambda mount: mount["name"])
        each.get("env", []).sort(key=lambda entry: entry["name"])
    return found


@by_case
@pytest.mark.parametrize("capture", ["env", "transparent"])
def test_the_agent_has_the_variables_of_the_command(case: Path, capture: str, chart: Path, tmp_path: Path) -> None:
    """`backstay.env` is what `backstay env --format kubernetes` prints; redirected agents need trust alone."""
    objects = rendered(below_backstay(case, tmp_path), changes(capture), chart=chart, release="my")
    config = tmp_path / "backstay.yaml"
    config.write_text(one(objects, "ConfigMap", "my-backstay")["data"]["backstay.yaml"])
    shims: list[str | Path] = ["--shims", tmp_path / "shims"] if "shims: true" in case.read_text() else []
    printed = yaml.safe_load(command("env", config, "--format", "kubernetes", *shims).stdout)
    expected = {entry["name"]: entry["value"] for entry in printed}
    agent = one(objects, "Deployment", "my")["spec"]["template"]["spec"]["containers"][-1]
    found = {entry["name"]: entry["value"] for entry in agent.get("env") or []}
    if capture == "transparent":
        expected = {name: only_trust(value) for name, value in expected.items() if "proxy" not in name.lower()}
        expected = {name: value for name, value in expected.items() if value and name != "NODE_USE_ENV_PROXY"}
    assert found == {name: value.replace(str(tmp_path / "shims"), shims_of(config)) for name, value in expected.items()}


def changes(capture: str) -> dict[str, Any]:
    listen = {"backstay.config.listen.transparent": "127.0.0.1:7071"}
    return {"backstay.capture": capture, **listen}


def only_trust(value: str) -> str:
    """Of Java's options, those that are not about a proxy."""
    return " ".join(option for option in value.split(" ") if not re.match(r"-Dhttps?\.", option))


def shims_of(config: Path) -> str:
    written = yaml.safe_load(config.read_text())
    return f"{(written.get('tls_intercept') or {}).get('trust_dir', '/var/run/backstay/trust')}/shims"


@pytest.mark.parametrize(
    ("drain", "sidecar", "seconds"),
    [
        ("30s", "native", 65),
        ("30s", "container", 35),
        ("10s", "container", 30),
        ("1m30s", "native", 125),
        ("1h", "container", 3605),
        ("250ms", "native", 36),
        ("29000ms", "native", 64),
        (0, "native", 35),
    ],
)
def test_a_pod_has_the_time_that_its_drain_takes(drain: Any, sidecar: str, seconds: int) -> None:
    """Rounded up, with 5 s for the last words; a native sidecar's time comes after the agent's 30 s."""
    values = {"config.drain.timeout": drain, "sidecar": sidecar}
    pod = one(rendered(CASES_BY_NAME["minimal"], values), "Pod", "backstay-test-traffic")
    assert pod["spec"]["terminationGracePeriodSeconds"] == seconds


def test_a_subcharts_values_are_checked_like_its_own(chart: Path) -> None:
    """The schema holds below the name of the dependency."""
    assert "/resources/limits/memory" in refusal({"backstay.resources.limits.memory": "much"}, chart=chart)


def test_a_dependency_may_have_a_condition_and_globals(chart: Path, tmp_path: Path) -> None:
    """Helm hands both down, and neither is a mistake."""
    assert rendered({"global": {"registry": "x"}, "backstay.enabled": True}, chart=chart)


def test_settings_say_what_values_say(tmp_path: Path) -> None:
    """Every field of an installation, in the injector's own words."""
    objects = rendered(CASES_BY_NAME["transparent"], {"imagePullSecrets": [{"name": "registry"}]})
    (tmp_path / "settings.yaml").write_text(one(objects, "ConfigMap", "backstay-injector")["data"]["settings.yaml"])
    found = load(tmp_path / "settings.yaml")
    assert found == Installation(
        image="backstay:0.1.0",
        pull_policy="IfNotPresent",
        pull_secrets=("registry",),
        capture="both",
        shims=True,
        exclude_ports=(5432, 6379),
        exclude_networks=("10.0.0.0/8", "fd00::/8"),
    )


@pytest.mark.parametrize(
    ("rbac", "readable"),
    [
        ({"injector.rbac.scope": "none"}, ()),
        ({"injector.rbac.scope": "namespaces", "injector.rbac.namespaces": ["a", "b"]}, ("a", "b")),
    ],
)
def test_the_injector_knows_whose_config_maps_it_may_read(
    rbac: dict[str, Any], readable: tuple[str, ...], tmp_path: Path
) -> None:
    """So that a pod elsewhere is refused with a sentence."""
    objects = rendered(CASES_BY_NAME["minimal"], rbac)
    (tmp_path / "settings.yaml").write_text(one(objects, "ConfigMap", "backstay-injector")["data"]["settings.yaml"])
    assert load(tmp_path / "settings.yaml").config_map_namespaces == readable
