"""`values.config` is the configuration: what is written there is what Backstay reads, whatever Helm does between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.load import load
from proxy.config.settings import Config
from tests.support.helm import ROOT, one, rendered

# The demonstration's metrics are for this machine alone, and no probe would find them.
EXAMPLES = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.stem != "demo")
METRICS = {"listen": {"metrics": "0.0.0.0:9464"}}


def as_installed(config: dict[str, Any] | Path, folder: Path) -> Path:
    """What the ConfigMap would be in the pod."""
    written = one(rendered(values_of(config, folder)), "ConfigMap", "backstay")
    (folder / "installed").mkdir()
    for name, text in written["data"].items():
        (folder / "installed" / name).write_text(text)
    return folder / "installed"


def values_of(config: dict[str, Any] | Path, folder: Path) -> Path:
    """As somebody writes it: a file's own text, below `config`."""
    text = config.read_text(encoding="utf-8") if isinstance(config, Path) else yaml.safe_dump(config)
    indented = "".join(f"  {line}" for line in text.splitlines(keepends=True))
    values = folder / "values.yaml"
    values.write_text(f"config:\n{indented}")
    return values


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_comes_through(example: Path, tmp_path: Path) -> None:
    """The same settings, though `off` has become `false`, and comments and anchors are gone."""
    before = load([example], {}, afar=True)
    after = load([as_installed(example, tmp_path)], {}, afar=True)
    assert settings_of(after) == settings_of(before)


def settings_of(config: Config) -> Config:
    """Without where they were written, and in order of names: Helm sorts."""
    apis = sorted((replace(api, line="") for api in config.apis), key=lambda api: api.name)
    return replace(config, apis=tuple(apis), origins={}, watched=(), digest="", effective={})


@pytest.mark.parametrize(
    ("config", "path", "value"),
    [
        ({"limits": {"connections": 1000000}}, "max_connections", 1000000),
        ({"limits": {"body_bytes": 10000000000}}, "body_bytes", 10000000000),
        ({"limits": {"body_bytes": "off"}}, "body_bytes", None),
        ({"limits": {"body_bytes": False}}, "body_bytes", None),
    ],
)
def test_large_numbers_and_off_stay_what_they_are(
    config: dict[str, Any], path: str, value: Any, tmp_path: Path
) -> None:
    """Helm holds numbers as floats, and would print a million as 1e+06."""
    full = {"version": 1, "apis": {"a": {"url": "https://a.example"}}, **METRICS, **config}
    limits = load([as_installed(full, tmp_path)], {}).limits
    assert (limits.connections if path == "max_connections" else limits.body_bytes) == value


def test_secrets_stay_references(tmp_path: Path) -> None:
    """Neither Helm nor the chart looks into them."""
    secret = {"authorization": {"value": "Bearer ${file:/secrets/key}", "placeholder": "bs_placeholder"}}
    config = {"version": 1, "apis": {"a": {"url": "https://a.example", "credentials": secret}}}
    text = (as_installed(config, tmp_path) / "backstay.yaml").read_text()
    assert "Bearer ${file:/secrets/key}" in text


def test_a_configuration_of_ones_own_is_not_made_again() -> None:
    """`configMap.existing` is mounted, by the injector as by a chart's own sidecar."""
    found = rendered(ROOT / "charts" / "backstay" / "ci" / "existing-values.yaml")
    volumes = one(found, "Deployment", "backstay-injector")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "configMap": {"name": "our-configuration"}} in volumes
    assert not [each for each in found if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "backstay"]
