"""The doctor and the real process: what `backstay env` prints is found well, and so is redirection."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from proxy.agent.doctor import examine
from proxy.agent.env import Place, variables
from proxy.config.load import load
from proxy.config.settings import Address
from tests.support.netns import USER, WORLD, Network
from tests.support.process import Document, Sidecar, command, document, write

_SERVE = """
import subprocess, sys
backstay = subprocess.Popen([sys.executable, "-m", "proxy", "run", {config!r}], stdout=subprocess.PIPE, text=True)
for line in backstay.stdout:
    if '"ready"' in line:
        break
print("ready", flush=True)
sys.stdin.read()
backstay.terminate()
backstay.wait()
"""


def captured(folder: Path, apis: dict[str, Any], **more: Any) -> Document:
    return document(apis, tls_intercept={"ca_dir": f"{folder}/ca", "trust_dir": f"{folder}/trust"}, **more)


def test_what_env_prints_is_found_well(tmp_path: Path, launch: Callable[..., Sidecar]) -> None:
    """By each way that there is; the vendors are not there to be asked."""
    file = tmp_path / "backstay.yaml"
    apis = {"vendor": {"url": "https://api.vendor.test"}, "clear": {"url": "http://clear.vendor.test"}}
    write(file, captured(tmp_path, apis))
    sidecar = launch(file)
    config = load([file], {}, afar=True)
    at = Place(Address("127.0.0.1", int(sidecar.url().rpartition(":")[2])))
    environ = {variable.name: variable.value for variable in variables(config, at)}
    findings = list(examine(config, environ, timeout=5.0))
    assert [finding for finding in findings if finding.result != "ok"] == []
    assert [finding.what for finding in findings[-3:]] == [
        "https_proxy: caught, and signed for by our authority",
        "http_proxy: caught",
        "refused, as it should be",
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user may look into."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def doctor_of_an_agent(file: Path) -> tuple[str, ...]:
    """The command as another user than Backstay's, with no variable but the trust, and a hosts file of its own."""
    folder = file.parent
    return (
        *("unshare", "--mount", "sh", "-c", f'mount --bind {folder}/hosts /etc/hosts && exec "$@"', "sh"),
        *("env", "-i", "PATH=/usr/bin:/bin", f"SSL_CERT_FILE={folder}/trust/ca-bundle.crt"),
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
        *(sys.executable, "-m", "proxy", "doctor", str(file), "--json", "--timeout", "2s"),
    )


def test_redirected_connections_are_found_well(folder: Path) -> None:
    """Without a proxy variable, by another user than Backstay's, once the rules are applied, and not before."""
    network = Network.made("nft")
    file = folder / "backstay.yaml"
    listen = {"agent": "127.0.0.1:7070", "transparent": "127.0.0.1:7071", "metrics": "off", "admin": "off"}
    urls = {"vendor": "https://api.vendor.test", "clear": f"http://{WORLD[0]}"}
    write(file, captured(folder, {name: {"url": url, "mount": None} for name, url in urls.items()}, listen=listen))
    (folder / "hosts").write_text(f"{WORLD[0]} api.vendor.test\n")
    doctor = doctor_of_an_agent(file)
    try:
        assert command("ca", file).returncode == 0
        network.start(_SERVE.format(config=str(file)))
        before = json.loads(network.run(*doctor).stdout)
        argv = ("redirect", str(file), "--uid", "0", "--force", "--apply", "--tool", "nft")
        assert network.run(sys.executable, "-m", "proxy", *argv).returncode == 0
        after = json.loads(network.run(*doctor).stdout)
    finally:
        network.close()
    ill = [finding["what"].partition(":")[0] for finding in before["findings"] if finding["result"] == "failed"]
    assert ill == ["redirection"] * 2
    assert after["ok"], after
    assert [finding["what"] for finding in after["findings"] if "redirection" in finding["what"]] == [
        "redirection: caught, and signed for by our authority",
        "redirection: caught",
    ]
