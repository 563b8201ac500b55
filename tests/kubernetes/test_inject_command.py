"""``backstay inject`` from the command line."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from proxy.cli import main
from proxy.kubernetes import commands
from proxy.kubernetes.model import Capture, Sidecar
from tests.support.injected import YAML
from tests.support.valid_pods import faults

DEPLOYMENT = """\
# The agent.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata:
      labels: {app: agent}   # as above
    spec:
      containers:
        # It thinks.
        - name: agent
          image: agent:1   # pinned
          args: ["--fast"]
"""
CRON = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "@daily"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: agent, image: agent:1}]
"""
BAD = "kind: Pod\nmetadata: {name: bad, annotations: {backstay.dev/captures: env}}\nspec: {containers: [{name: a}]}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "backstay.yaml").write_text(YAML)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_text(DEPLOYMENT)
    (tmp_path / "manifests" / "b.yml").write_text(CRON)
    (tmp_path / "manifests" / "README").write_text("no manifest")
    return tmp_path


def inject(folder: Path, *more: str, manifests: str = "manifests", config: str = "backstay.yaml") -> int:
    return main(["inject", "-f", str(folder / manifests), "--config", str(folder / config), *more])


def pods(text: str) -> list[dict[str, Any]]:
    deployment, cron = yaml.safe_load_all(text)
    return [deployment["spec"]["template"], cron["spec"]["jobTemplate"]["spec"]["template"]]


def test_all_of_a_folder_is_injected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One stream comes out, with valid pods in it; no line of what was there is lost or moved."""
    assert inject(folder) == 0
    out, err = capsys.readouterr()
    assert err == "deployment/agent: injected\ncronjob/nightly: injected\n"
    assert [faults(pod) for pod in pods(out)] == [[], []]
    assert all("backstay" in str(pod["spec"]["initContainers"]) for pod in pods(out))
    left = iter(out.splitlines())
    assert [line for line in DEPLOYMENT.splitlines() if "labels" not in line and line not in left] == []


def test_what_was_injected_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Applied to its own output, from standard input or a file, it changes nothing."""
    assert inject(folder) == 0
    once = capsys.readouterr().out
    (folder / "once.yaml").write_text(once)
    assert inject(folder, manifests="once.yaml") == 0
    out, err = capsys.readouterr()
    assert out == once
    assert err.splitlines()[0] == "deployment/agent: not injected: the pod has its sidecar already"


def test_standard_input(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the end of a pipe; bytes that are no UTF-8 are a sentence."""
    for data, code in ((DEPLOYMENT.encode(), 0), (DEPLOYMENT.encode("utf-16"), 1)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["inject", "-f", "-", "--config", str(folder / "backstay.yaml")]) == code
    assert "backstay: standard input: this is not UTF-8; save it as UTF-8\n" in capsys.readouterr().err


def test_a_byte_order_mark_costs_no_comment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Editors on Windows put one before a file."""
    (folder / "marked.yaml").write_text(DEPLOYMENT, encoding="utf-8-sig")
    assert inject(folder, manifests="marked.yaml") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in DEPLOYMENT.splitlines() if line not in out and "labels" not in line] == []


def test_what_comes_out_is_utf8(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every locale: it goes on to ``kubectl``."""
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="ascii"))
    (folder / "accents.yaml").write_text(DEPLOYMENT.replace("It thinks.", "Être."), encoding="utf-8")
    assert inject(folder, manifests="accents.yaml") == 0
    assert "# Être.\n" in out.getvalue().decode("utf-8")


def test_a_disk_that_is_full_is_a_sentence(folder: Path) -> None:
    """What could not be written is told, without a traceback."""
    command = [
        sys.executable,
        "-m",
        "proxy",
        "inject",
        "-f",
        str(folder / "manifests"),
        "--config",
        str(folder / "backstay.yaml"),
    ]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "backstay: No space left on device"


def test_options_stand_above_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The image, the way of capture, the kind of sidecar; a pod's own word stands above both."""
    (folder / "settings.yaml").write_text("image: settings:1\ncapture: transparent\nsidecar: native\n")
    settings = ["--settings", str(folder / "settings.yaml")]
    assert inject(folder, *settings) == 0
    assert "backstay-redirect" in (out := capsys.readouterr().out)
    assert "image: settings:1" in out
    assert inject(folder, *settings, "--image", "mine:2", "--capture", "env", "--sidecar", "container") == 0
    out = capsys.readouterr().out
    assert ("backstay-redirect" in out, "settings:1" in out, "image: mine:2" in out) == (False, False, True)
    assert pods(out)[0]["spec"]["containers"][0]["name"] == "backstay"


def test_warnings_are_said_and_hinder_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What calls are not caught, for instance."""
    (folder / "clear.yaml").write_text("version: 1\napis: {x: {url: https://x.example}}\n")
    assert inject(folder, config="clear.yaml") == 0
    assert "deployment/agent: warning: the configuration has no tls_intercept" in capsys.readouterr().err


def test_a_refusal_prints_no_manifests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a stream must not be applied: all is said, and the exit code is 1."""
    (folder / "manifests" / "c.yaml").write_text(BAD)
    assert inject(folder) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "pod/bad: refused: " in err
    assert "did you mean" in err
    assert err.endswith("backstay: 1 workload refused, nothing printed\n")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"backstay.yaml": "version: 2\n"}, "refused: {folder}/backstay.yaml:1:"),
        ({"manifests/a.yaml": "a: b: c\n"}, "backstay: {folder}/manifests/a.yaml:1:5: this is no manifest"),
    ],
)
def test_mistakes_are_named_with_their_place(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], error: str
) -> None:
    """In the configuration, and in manifests."""
    for name, text in change.items():
        (folder / name).write_text(text)
    assert inject(folder) == 1
    assert error.format(folder=folder) in capsys.readouterr().err


def test_files_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Manifests, a configuration, settings that say nothing useful, and manifests of nothing."""
    assert inject(folder, manifests="none") == 1
    assert inject(folder, config="none") == 1
    (folder / "settings.yaml").write_text("imago: x\n")
    assert inject(folder, "--settings", str(folder / "settings.yaml")) == 1
    (folder / "service.yaml").write_text("kind: Service")
    assert inject(folder, manifests="service.yaml") == 0
    out, err = capsys.readouterr()
    assert out == "kind: Service"
    assert err.splitlines() == [
        f"backstay: {folder}/none: No such file or directory",
        f"backstay: no such file or directory: {folder}/none",
        *[line for line in err.splitlines() if "settings.yaml" in line],
        "backstay: there is no pod and no template of one in the manifests",
    ]
    assert "did you mean 'image'?" in err


def test_a_config_map_of_another_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a pod names is looked for in all that is read."""
    data = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "ways"}, "data": {"backstay.yaml": YAML}}
    (folder / "ways.yaml").write_text(yaml.safe_dump(data))
    argv = ["inject", "-f", str(folder / "manifests"), "-f", str(folder / "ways.yaml"), "--config-map", "ways"]
    assert main(argv) == 0
    found = list(yaml.safe_load_all(capsys.readouterr().out))
    volumes = {each["name"]: each for each in found[0]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["backstay-config"]["configMap"]["name"] == "ways"
    assert found[2] == data


def test_every_way_can_be_said() -> None:
    """The options know what the model knows."""
    assert (get_args(Capture), get_args(Sidecar)) == (commands.CAPTURES, commands.SIDECARS)
