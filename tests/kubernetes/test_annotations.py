"""Tests of what a pod asks for: its annotations over the installation's ways, and what is wrong with them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from proxy.kubernetes.annotations import READERS, read
from proxy.kubernetes.model import Installation, Refused, Resources, Skipped, Wish

INSTALLATION = Installation(
    image="backstay:1", capture="both", sidecar="container", shims=True, roots="system", exclude_ports=(22,)
)
ALL = {
    "config": "ways",
    "capture": "transparent",
    "sidecar": "native",
    "shims": "false",
    "roots": "agent",
    "cpu-request": "10m",
    "memory-request": "1Gi",
    "cpu-limit": "2",
    "memory-limit": "2Gi",
    "exclude-ports": "5432,6379",
    "exclude-networks": "10.0.0.0/8,fd00::/8",
    "exclude-containers": "a,b",
    "secret": "keys",
    "env-from": "more-keys",
}


def saying(**annotations: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": {f"backstay.dev/{key.replace('_', '-')}": v for key, v in annotations.items()}}}


def wish(pod: dict[str, Any]) -> Wish:
    found = read(pod, INSTALLATION)
    assert isinstance(found, Wish)
    return found


def refusal(**annotations: Any) -> str:
    with pytest.raises(Refused) as refused:
        read(saying(**({"inject": "true"} | annotations)), INSTALLATION)
    return str(refused.value)


def test_a_pod_that_only_asks_gets_the_ways_of_the_installation() -> None:
    """One annotation is enough."""
    found = wish(saying(inject="true"))
    assert (found.capture, found.sidecar, found.shims, found.roots) == ("both", "container", True, "system")
    assert (found.config_map, found.secret, found.env_from) == (None, None, None)
    assert (found.exclude_ports, found.resources) == ((22,), Resources())


def test_every_annotation_is_put_over_the_ways_of_the_installation() -> None:
    """Each has a word of its own in the wish."""
    found = wish(saying(inject="true", **{key.replace("-", "_"): text for key, text in ALL.items()}))
    assert found == Wish(
        config_map="ways",
        capture="transparent",
        sidecar="native",
        shims=False,
        roots="agent",
        resources=Resources("10m", "1Gi", "2", "2Gi"),
        exclude_ports=(5432, 6379),
        exclude_networks=("10.0.0.0/8", "fd00::/8"),
        exclude_containers=("a", "b"),
        secret="keys",
        env_from="more-keys",
    )
    assert {"inject", *ALL} == set(READERS)
    assert len(fields(Wish)) == len(ALL) - 3  # the four resources are one


def test_an_empty_list_takes_back_what_the_installation_excludes() -> None:
    """Whoever lists nothing excludes nothing."""
    assert wish(saying(inject="true", exclude_ports="")).exclude_ports == ()


@pytest.mark.parametrize("pod", [{}, {"metadata": None}, {"metadata": {"annotations": None}}, saying(capture="env")])
def test_a_pod_that_does_not_ask_stays_as_it_is(pod: dict[str, Any]) -> None:
    """Nobody wanted it otherwise."""
    found = read(pod, INSTALLATION)
    assert isinstance(found, Skipped)
    assert found.unasked


def test_a_pod_that_does_not_ask_is_meant_where_all_are() -> None:
    """A namespace, or the command, asks for all that say nothing."""
    assert isinstance(read({}, INSTALLATION, unless_told=True), Wish)


def test_a_pod_that_says_false_is_never_meant() -> None:
    """Not even where all are, nor where other annotations of it are wrong: none of them has an effect."""
    found = read(saying(inject="false", captrue="env"), INSTALLATION, unless_told=True)
    assert found == Skipped('the pod says backstay.dev/inject: "false"', unasked=True)


def test_an_unknown_annotation_is_refused_with_one_that_may_be_meant() -> None:
    """A slip of the pen would otherwise take effect in silence."""
    assert refusal(captrue="env") == (
        "annotation backstay.dev/captrue: there is no such annotation; did you mean 'capture'?"
    )


def test_an_annotation_like_no_other_is_told_which_there_are() -> None:
    """Nothing is near it."""
    assert "there are inject, config, capture" in refusal(zzz="1")


def test_a_slip_in_the_first_of_them_is_refused_too() -> None:
    """Its owner believes that the agent has a sidecar."""
    with pytest.raises(Refused, match="did you mean 'inject'"):
        read(saying(injcet="true"), INSTALLATION)


def test_all_mistakes_are_said_at_once() -> None:
    """Each with what it says and what to write."""
    said = refusal(capture="all", shims="yes")
    assert "annotation backstay.dev/capture: 'all' is not understood; write env, transparent or both" in said
    assert 'annotation backstay.dev/shims: \'yes\' is not understood; write "true" or "false"' in said


def test_what_is_not_text_is_to_be_put_in_quotes() -> None:
    """YAML makes a switch of true, and the API server takes text alone."""
    assert 'True is not text; put it in quotes, as in backstay.dev/inject: "..."' in refusal(inject=True)


def test_what_injection_itself_has_set_is_no_mistake() -> None:
    """The template of an injected pod is read again."""
    assert isinstance(read(saying(inject="true", status="{}"), INSTALLATION), Wish)


def test_annotations_of_others_are_none_of_ours() -> None:
    """Whatever they say."""
    pod = {"metadata": {"annotations": {"backstay.example/inject": "no", "backstay.dev/inject": "true"}}}
    assert isinstance(read(pod, INSTALLATION), Wish)


@pytest.mark.parametrize("metadata", ["x", {"annotations": ["x"]}, {"annotations": {1: "x"}}])
def test_annotations_that_are_none_are_refused(metadata: Any) -> None:
    """A manifest may hold anything."""
    with pytest.raises(Refused, match=r"metadata\.annotations: this is not a mapping of text; write lines such as"):
        read({"metadata": metadata}, INSTALLATION)


def test_a_request_above_its_limit_is_refused() -> None:
    """Also where one of the two is the installation's; Kubernetes would refuse the pod, and blame nobody."""
    assert "the request of memory, 300Mi, is above its limit, 256Mi" in refusal(memory_request="300Mi")


def test_a_request_without_a_limit_may_be_any() -> None:
    """Nothing is compared with nothing."""
    installation = replace(INSTALLATION, resources=Resources(cpu_limit=None))
    assert isinstance(read(saying(inject="true", cpu_request="64"), installation), Wish)


def test_a_request_may_be_its_limit() -> None:
    """So that a pod whose containers all have both stays one with guarantees; 1 and 1000m are the same."""
    assert wish(saying(inject="true", cpu_request="1000m", cpu_limit="1")).resources.cpu_limit == "1"
