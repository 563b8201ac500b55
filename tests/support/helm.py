"""A real helm and the charts: rendered, refused, packed. Used by tests/charts.

Run as a program (`python -m tests.support.helm`), it writes the golden files.

`make test-kubernetes` fetches helm. Without it these tests fail, since there is no other proof of the chart.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHARTS: Final = ROOT / "charts"
BACKSTAY: Final = CHARTS / "backstay"
CASES: Final = sorted((BACKSTAY / "ci").glob("*-values.yaml"))
GOLDEN: Final = ROOT / "tests" / "charts" / "golden"
OF_OTHERS: Final = ("prometheusrule.yaml", "dashboard.yaml")
"""Templates that show files of the chart; these have tests of their own (tests/monitoring)."""
HELM: Final = ROOT / ".cache" / "helm"
_SOURCE: Final = re.compile(r"^# Source: (\S+)$", re.MULTILINE)

Object = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it, whatever becomes of it."""
    if not HELM.exists():
        raise FileNotFoundError(
            f"{HELM} is not there: run `make .cache/helm`, or these tests by `make test-kubernetes`"
        )
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False, timeout=50)


def rendered(*values: Path | Mapping[str, Any], chart: Path = BACKSTAY, release: str = "backstay") -> list[Object]:
    """The objects of a release in namespace `prod`, each with its template's name as `source`."""
    done = _template(*values, chart=chart, release=release)
    assert done.returncode == 0, done.stderr
    return [_object(part) for part in re.split(r"^---\n", done.stdout, flags=re.MULTILINE) if _SOURCE.search(part)]


def refusal(*values: Path | Mapping[str, Any], chart: Path = BACKSTAY, kubernetes: str = "1.29") -> str:
    """What helm says of values that it has to refuse, in one line."""
    done = _template(*values, chart=chart, release="backstay", kubernetes=kubernetes)
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The object of this kind and name."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def _template(
    *values: Path | Mapping[str, Any], chart: Path, release: str, kubernetes: str = "1.29"
) -> subprocess.CompletedProcess[str]:
    given: list[str | Path] = []
    for each in values:
        given += ["--values", each] if isinstance(each, Path) else as_json(each)
    return _once("template", release, chart, "--namespace", "prod", "--kube-version", kubernetes, *given)


@cache
def _once(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same files give the same text: only certificates are made anew."""
    return helm(*arguments)


def as_json(values: Mapping[str, Any]) -> list[str]:
    """Values by their paths, as arguments."""
    return [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]


def _object(text: str) -> Object:
    source = _SOURCE.search(text)
    assert source is not None
    return {"source": source[1].rpartition("/")[2], **yaml.safe_load(text)}


# --- the example chart --------------------------------------------------------------------------------


def example(folder: Path) -> Path:
    """`charts/example-agent` with the chart that it depends on, in a copy below ``folder``."""
    for name in ("backstay", "example-agent"):
        shutil.copytree(CHARTS / name, folder / name, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    done = helm("dependency", "build", folder / "example-agent")
    assert done.returncode == 0, done.stderr
    return folder / "example-agent"


# --- golden files -------------------------------------------------------------------------------------


def golden_text(objects: list[Object]) -> str:
    """Objects as the golden files have them: in order, without what is made anew each time."""
    mine = [_settled(each) for each in objects if each["source"] not in OF_OTHERS]
    mine.sort(key=lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]))
    return "---\n".join(yaml.safe_dump(each, sort_keys=False, width=1 << 30, allow_unicode=True) for each in mine)


def _settled(found: Object) -> Object:
    settled = {key: value for key, value in found.items() if key != "source"}
    if found["kind"] == "Secret":
        settled["data"] = dict.fromkeys(found["data"], "(made anew)")
    for webhook in found.get("webhooks", []):
        if "caBundle" in webhook["clientConfig"]:
            webhook["clientConfig"]["caBundle"] = "(made anew)"
    return settled


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{case.name.removesuffix('-values.yaml')}.yaml").write_text(golden_text(rendered(case)))
    sys.stdout.write(f"{len(CASES)} golden files\n")
