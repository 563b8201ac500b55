"""Golden pods: what becomes of each ``tests/kubernetes/golden/NAME.pod.yaml``.

Used by tests/kubernetes/test_golden.py. After a change that is meant, ``python -m tests.support.golden_pods`` writes
what comes out now, to be read as a diff.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from proxy import __version__
from proxy.kubernetes.model import Supply
from proxy.kubernetes.supply import carried, from_config_map
from tests.support.injected import INSTALLATION, a_wish, injected, warnings

GOLDEN = Path(__file__).parents[1] / "kubernetes" / "golden"
_CONFIG = GOLDEN / "backstay.yaml"
_INSTALLATION = replace(
    INSTALLATION, image="registry.example/backstay:1", pull_secrets=("registry",), scrape_annotations=True
)


def cases() -> list[str]:
    """The names of all."""
    return sorted(path.name.removesuffix(".pod.yaml") for path in GOLDEN.glob("*.pod.yaml"))


def given(name: str) -> dict[str, Any]:
    """The pod that goes in."""
    pod: dict[str, Any] = yaml.safe_load((GOLDEN / f"{name}.pod.yaml").read_text())
    return pod


def expected(name: str) -> Path:
    """The file of what comes out."""
    return GOLDEN / f"{name}.injected.yaml"


def made(name: str) -> str:
    """What comes out of it now, with what its owner is told."""
    pod = given(name)
    supply = _supply(pod)
    told = [f"# {line}\n" for line in warnings(pod, supply, _INSTALLATION).splitlines()]
    after = injected(pod, supply, _INSTALLATION)
    after["metadata"]["annotations"]["backstay.dev/status"] = after["metadata"]["annotations"][
        "backstay.dev/status"
    ].replace(f'"{__version__}"', '"VERSION"')
    return "".join(told) + yaml.dump(after, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


def _supply(pod: dict[str, Any]) -> Supply:
    config_map = a_wish(pod).config_map
    if config_map is None:
        return carried([_CONFIG])
    return from_config_map(config_map, {_CONFIG.name: _CONFIG.read_text()})


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, and a file as one that can be read."""

    def ignore_aliases(self, _: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)

if __name__ == "__main__":
    for case in cases():
        expected(case).write_text(made(case))
