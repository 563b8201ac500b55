"""The chart's rules for Prometheus as data, and promtool. Used by tests/monitoring.

promtool comes with prometheus (`scripts/services.sh`). Where it is not, what needs it is skipped, loudly.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import yaml

from proxy.telemetry.metrics import METRICS

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = sorted((ROOT / "charts" / "backstay" / "rules").glob("*.yaml"))
UNIT_TESTS: Final = sorted((ROOT / "tests" / "monitoring" / "rules").glob("*.yaml"))
RUNBOOKS: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))

Rule: TypeAlias = dict[str, Any]

_PATIENCE: Final = 50.0  # seconds
_NAME: Final = re.compile(r"\b(?:\w+:)?backstay_\w+(?::\w+)?")
_SELECTOR: Final = re.compile(r"\b(backstay_\w+)\{([^}]*)\}")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_OF_TARGETS: Final = frozenset({"cluster", "namespace", "pod", "job", "instance", "le"})
_PARTS: Final = ("_bucket", "_sum", "_count")


def rules_of(path: Path) -> list[Rule]:
    """All rules of a file, whatever their group."""
    return [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


ALL: Final = [rule for path in RULES for rule in rules_of(path)]
ALERTS: Final = [rule for rule in ALL if "alert" in rule]
NAMES: Final = sorted({rule["alert"] for rule in ALERTS})
RECORDED: Final = sorted(rule["record"] for rule in ALL if "record" in rule)


def _series() -> Iterator[tuple[str, tuple[str, ...]]]:
    for spec in METRICS:
        for part in _PARTS if spec.kind == "histogram" else ("",):
            yield spec.name + part, spec.labels


LABELS: Final = dict(_series())
"""Of each series that a Backstay serves."""


def unknown_names(text: str) -> list[str]:
    """What looks like a series or a metric of ours in ``text``, and is none."""
    known = {*LABELS, *RECORDED, *(spec.name for spec in METRICS)}
    return sorted(set(_NAME.findall(text)) - known)


def unknown_labels(text: str) -> list[str]:
    """Labels by which ``text`` selects series that do not have them, each with its series."""
    found = []
    for name, matchers in _SELECTOR.findall(text):
        labels = _LABEL.findall(matchers)
        found += [f"{name}: {label}" for label in labels if label not in _OF_TARGETS.union(LABELS.get(name, ()))]
    return found


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here: scripts/services.sh installs it, with prometheus")
    return subprocess.run(
        ["promtool", *map(str, arguments)],
        input=stdin,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
