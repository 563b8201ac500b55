"""The Dockerfile, as far as it can be held to its word without a container engine."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from proxy.agent.commands import _BUSYBOX
from proxy.kubernetes.settings import defaults

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile as (word, rest), continuation lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def sources() -> list[str]:
    """What the image copies out of the repository."""
    copies = [rest.split() for word, rest in instructions() if word == "COPY" and "--from=" not in rest]
    return [source for parts in copies for source in parts[:-1]]


def ignored_but() -> set[str]:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return {line[1:] for line in lines if line.startswith("!")}


@pytest.mark.parametrize("source", sources())
def test_every_source_of_the_image_exists_and_reaches_the_build(source: str) -> None:
    """A COPY that names a missing or ignored file would break the build, where nobody looks until a release."""
    assert (ROOT / source).exists()
    assert source in ignored_but()


def test_runs_as_a_numeric_user_that_is_not_root() -> None:
    """Kubernetes checks runAsNonRoot against a number; a name it cannot judge."""
    user = dict(last_stage())["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_is_the_user_that_redirection_exempts_and_injection_sets() -> None:
    """Image, injection and files agree on one number, which agents do not have: 65532 is that of distroless images."""
    uid = str(defaults("backstay").uid)
    commands = " ".join(rest for word, rest in last_stage() if word == "RUN")
    assert dict(last_stage())["USER"] == f"{uid}:{uid}"
    assert set(re.findall(r"-[og] (\d+)", commands)) == {uid}


def test_tells_its_health_without_a_shell() -> None:
    """There is no curl, and a HEALTHCHECK of one string would need a shell."""
    _, _, command = dict(last_stage())["HEALTHCHECK"].partition("CMD ")
    assert json.loads(command) == ["backstay", "health"]


def test_has_the_shell_that_foreign_images_may_lack_where_prepare_looks_for_it() -> None:
    """`backstay prepare` copies one file, for init containers of images from scratch."""
    copies = [rest.split() for word, rest in last_stage() if word == "COPY"]
    assert ["--from=build", "/bin/busybox", str(_BUSYBOX)] in copies


def test_the_last_stage_installs_nothing_but_nft() -> None:
    """Build tools stay in the first stage; `backstay redirect` needs one program that Python has not."""
    commands = " ".join(rest for word, rest in last_stage() if word == "RUN")
    assert not re.search(r"\b(pip3? install|gcc|curl|wget)\b", commands)
    assert re.findall(r"apt-get install --yes --no-install-recommends ([^&]+?) &&", commands) == ["nftables"]


def test_starts_the_command_that_the_distribution_installs() -> None:
    """ENTRYPOINT names the script of pyproject.toml, and CMD the folder that the chart mounts."""
    stage = dict(last_stage())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    container = (ROOT / "charts/backstay/templates/_sidecar.tpl").read_text()
    assert json.loads(stage["ENTRYPOINT"]) == list(project["scripts"])
    assert json.loads(stage["CMD"]) == ["run", "/etc/backstay"]
    assert "mountPath: /etc/backstay," in container


def test_carries_the_version_of_the_project() -> None:
    """Image, chart and distribution are released together, under one number."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = (ROOT / "charts/backstay/Chart.yaml").read_text()
    assert ("ARG", f"VERSION={version}") in instructions()
    assert f"\nversion: {version}\n" in chart
    assert f"\nappVersion: {version}\n" in chart


def test_the_chart_names_the_ports_that_the_image_exposes() -> None:
    """EXPOSE, the chart's defaults and the defaults of `listen` are the same two ports."""
    values = (ROOT / "charts/backstay/values.yaml").read_text()
    for port in dict(last_stage())["EXPOSE"].split():
        assert f":{port}\n" in values
