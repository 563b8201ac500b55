"""What a pod asks for by its annotations: a Wish, why it stays as it is, or what is wrong with them.

Called by filter.py and webhook.py with a pod, or with the template of one. All are below ``backstay.dev/``; one that
is not known is refused, as a slip of the pen would otherwise leave an agent without what its owner believes it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from proxy.config.problems import near
from proxy.kubernetes import values
from proxy.kubernetes.model import PREFIX, Capture, Installation, Refused, Resources, Roots, Sidecar, Skipped, Wish
from proxy.kubernetes.names import INJECT, STATUS

_LISTED: Final = 10
_RESOURCES: Final = ("cpu-request", "memory-request", "cpu-limit", "memory-limit")
READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "inject": values.switch,
    "config": values.name,
    "capture": values.one_of(*get_args(Capture)),
    "sidecar": values.one_of(*get_args(Sidecar)),
    "shims": values.switch,
    "roots": values.one_of(*get_args(Roots)),
    **dict.fromkeys(_RESOURCES, values.quantity),
    "exclude-ports": values.ports,
    "exclude-networks": values.networks,
    "exclude-containers": values.names,
    "secret": values.name,
    "env-from": values.name,
}
"""Every annotation that a pod may have, without ``backstay.dev/``, and what reads it."""


def read(pod: Mapping[str, Any], installation: Installation, *, unless_told: bool = False) -> Wish | Skipped:
    """What ``pod`` asks for, over what holds for all. Raises Refused.

    ``unless_told``: a pod without ``backstay.dev/inject`` is meant, too; one that says "false" never is.
    """
    if _annotations(pod).get(INJECT) == "false":
        return Skipped(f'the pod says {INJECT}: "false"', unasked=True)
    said = _said(pod)
    if not said.get("inject", unless_told):
        return Skipped(f'the pod does not say {INJECT}: "true"', unasked=True)
    return Wish(
        config_map=said.get("config"),
        capture=said.get("capture", installation.capture),
        sidecar=said.get("sidecar", installation.sidecar),
        shims=said.get("shims", installation.shims),
        roots=said.get("roots", installation.roots),
        resources=_resources(said, installation.resources),
        exclude_ports=said.get("exclude-ports", installation.exclude_ports),
        exclude_networks=said.get("exclude-networks", installation.exclude_networks),
        exclude_containers=said.get("exclude-containers", ()),
        secret=said.get("secret"),
        env_from=said.get("env-from"),
    )


def check_resources(resources: Resources) -> None:
    """Kubernetes refuses a request above its limit. Raises ValueError."""
    for what in ("cpu", "memory"):
        request, limit = getattr(resources, f"{what}_request"), getattr(resources, f"{what}_limit")
        if request and limit and values.amount(request) > values.amount(limit):
            raise ValueError(
                f"the request of {what}, {request}, is above its limit, {limit}; set {what}-request and {what}-limit "
                "so that the request is not above it"
            )


def _said(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What its annotations say. Raises Refused with the mistakes in them, as many as anybody reads."""
    found: dict[str, Any] = {}
    wrong: list[str] = []
    for key, text in _annotations(pod).items():
        if not key.startswith(PREFIX) or key == STATUS:
            continue
        word = key.removeprefix(PREFIX)
        try:
            found[word] = _value(word, text)
        except ValueError as error:
            wrong.append(f"annotation {key}: {error}")
            if len(wrong) == _LISTED:
                break
    if wrong:
        raise Refused("; ".join(wrong))
    return found


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = pod.get("metadata") or {}
    annotations = (metadata.get("annotations") if isinstance(metadata, Mapping) else metadata) or {}
    if not isinstance(annotations, Mapping) or not all(isinstance(key, str) for key in annotations):
        raise Refused("metadata.annotations: this is not a mapping of text; write lines such as " + _EXAMPLE)
    return annotations


_EXAMPLE: Final = f'{INJECT}: "true"'


def _value(word: str, text: object) -> Any:
    reader = READERS.get(word)
    if reader is None:
        hint = near(word, READERS)
        raise ValueError(f"there is no such annotation; {hint or 'there are ' + ', '.join(READERS)}")
    if not isinstance(text, str):
        raise ValueError(  # noqa: TRY004  one kind of refusal for all that is wrong
            f'{values.shown(text)} is not text; put it in quotes, as in {PREFIX}{word}: "..."'
        )
    try:
        return reader(text.strip())
    except ValueError as error:
        raise ValueError(f"{values.shown(text)} is not understood; {error}") from None


def _resources(said: Mapping[str, Any], default: Resources) -> Resources:
    given = {word.replace("-", "_"): said[word] for word in _RESOURCES if word in said}
    resources = replace(default, **given)
    try:
        check_resources(resources)
    except ValueError as error:
        raise Refused(f"annotations {PREFIX}*: {error}") from None
    return resources
