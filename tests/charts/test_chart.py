"""The chart over its matrix of values: it lints, packs, and every object is one that its API takes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.support.custom_resources import SCHEMAS
from tests.support.helm import BACKSTAY, CASES, GOLDEN, example, golden_text, helm, rendered

by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix("-values.yaml"))


@by_case
def test_lints(case: Path) -> None:
    """Helm has nothing to warn of."""
    done = helm("lint", "--strict", BACKSTAY, "--values", case)
    assert done.returncode == 0, done.stdout


def test_lints_with_what_it_comes_with() -> None:
    """Catalogues lint charts without values."""
    done = helm("lint", "--strict", BACKSTAY)
    assert done.returncode == 0, done.stdout


@by_case
@pytest.mark.parametrize("version", ["1.29", "1.36"])
def test_every_object_is_valid(case: Path, version: str) -> None:
    """Kubernetes takes them, and knows every field."""
    for found in rendered(case):
        plain = {key: value for key, value in found.items() if key != "source"}
        if found["kind"] in SCHEMAS:
            jsonschema.validate(plain, SCHEMAS[found["kind"]])
        else:
            kubernetes_validate.validate(plain, version, strict=True)


@by_case
def test_every_object_is_as_it_was(case: Path) -> None:
    """What a release consists of changes on purpose only: `python -m tests.support.helm` writes these files anew."""
    golden = GOLDEN / f"{case.name.removesuffix('-values.yaml')}.yaml"
    assert golden_text(rendered(case)) == golden.read_text(encoding="utf-8")


def test_there_is_a_golden_file_for_each_case_and_no_other() -> None:
    """A case that is renamed takes its file with it."""
    assert {path.stem for path in GOLDEN.iterdir()} == {case.name.removesuffix("-values.yaml") for case in CASES}


@by_case
def test_no_two_objects_are_one(case: Path) -> None:
    """Names do not collide."""
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in rendered(case)]
    assert sorted(names, key=str) == sorted(set(names), key=str)


def test_packs(tmp_path: Path) -> None:
    """The package has what is rendered from, and nothing that only tests need."""
    done = helm("package", BACKSTAY, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("backstay-*.tgz"))) as package:
        names = {name.removeprefix("backstay/") for name in package.getnames()}
    assert {"Chart.yaml", "values.schema.json", "templates/_sidecar.tpl", "templates/tests/traffic.yaml"} <= names
    assert not [name for name in names if name.startswith("ci/")]


def test_the_example_lints_and_its_objects_are_valid(tmp_path: Path) -> None:
    """A chart that depends on this one by its folder."""
    chart = example(tmp_path)
    done = helm("lint", "--strict", chart)
    assert done.returncode == 0, done.stdout
    kinds = [found["kind"] for found in rendered(chart=chart)]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "Pod"]
    for found in rendered(chart=chart):
        plain = {key: value for key, value in found.items() if key != "source"}
        kubernetes_validate.validate(plain, "1.29", strict=True)


@pytest.mark.parametrize("release", ["a", "backstay", "b" * 53, "backstay-of-the-agents-of-the-whole-platform-in-prod"])
def test_names_are_within_their_bounds(release: str) -> None:
    """A Service and a label have 63 characters."""
    for found in rendered(CASES[0], {"fullnameOverride": ""}, release=release):
        name = found["metadata"]["name"]
        assert len(name) <= 63, name
        assert not name.endswith("-"), name
        assert all(len(label) <= 63 for label in found["metadata"]["labels"].values())
