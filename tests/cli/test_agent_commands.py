"""proxy/agent/commands.py: env, doctor, redirect and ca from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.cli import main

CONFIG = """\
version: 1
listen: {{agent: 127.0.0.1:{port}, transparent: 127.0.0.1:7171}}
tls_intercept: {{ca_dir: {folder}/ca, trust_dir: {folder}/trust}}
apis:
  openai:
    url: https://api.openai.com
    mount: /openai
    credentials: {{authorization: {{value: "Bearer ${{file:/not/here}}", placeholder: bs_openai_key}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    return write(tmp_path)


def write(folder: Path, port: int = 7070) -> str:
    file = folder / "backstay.yaml"
    file.write_text(CONFIG.format(folder=folder, port=port))
    return str(file)


def test_ca_makes_an_authority_and_says_which(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once: the second time it is read. The agent's folder has no key, and no secret of an api is asked for."""
    assert main(["ca", config]) == 0
    first = capsys.readouterr().out
    assert main(["ca", config]) == 0
    assert capsys.readouterr().out == first
    lines = dict(line.split(": ") for line in first.splitlines())
    assert len(lines["sha256"]) == 64
    assert lines["valid until"].endswith("days)")
    assert lines["to trust"] == str(tmp_path / "trust")
    assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in (tmp_path / "trust").iterdir())


def test_ca_needs_a_place(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the system refuses is a sentence, as is a configuration that intercepts nothing."""
    (tmp_path / "ca").write_text("a file")
    assert main(["ca", config]) == 1
    assert capsys.readouterr().err.startswith(f"backstay: {tmp_path}/ca")
    Path(config).write_text("version: 1\napis: {x: {url: http://x}}\n")
    assert main(["ca", config]) == 1
    assert "tls_intercept is off" in capsys.readouterr().err


def test_env_prints_and_warns(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To be taken by eval; that the bundle is not there yet is said beside it."""
    assert main(["env", config]) == 0
    out, err = capsys.readouterr()
    assert "export https_proxy=http://127.0.0.1:7070\n" in out
    assert "OPENAI_BASE_URL" not in out
    assert err == (
        f"backstay: {tmp_path}/trust/ca-bundle.crt is not there yet: start Backstay, or run `backstay ca CONFIG`, "
        "before the agent\n"
    )
    assert main(["ca", config]) == main(["env", config]) == 0
    assert capsys.readouterr().err == ""


def test_env_with_everything(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shims are written where they are pointed at."""
    argv = ["env", config, "--format", "kubernetes", "--shims", str(tmp_path / "s"), "--base-urls", "--at", "side:80"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert f'- name: PYTHONPATH\n  value: "{tmp_path}/s"\n' in out
    assert '- name: OPENAI_BASE_URL\n  value: "http://side:80/openai/v1"\n' in out
    assert (tmp_path / "s" / "sitecustomize.py").is_file()
    assert err == ""  # it is for another machine, whose files are not seen from here


def test_env_that_cannot_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is any free one, and a folder that cannot be written to."""
    assert main(["env", write(tmp_path, port=0)]) == 1
    assert "name a port that agents can be told; or say it with --at HOST:PORT" in capsys.readouterr().err
    assert main(["env", write(tmp_path), "--shims", "/dev/null/s"]) == 1
    assert capsys.readouterr().err.startswith("backstay: /dev/null/s: Not a directory: the shims cannot be kept here; ")


def test_env_says_that_https_is_not_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without interception."""
    (tmp_path / "x.yaml").write_text("version: 1\napis: {x: {url: https://x}}\n")
    assert main(["env", str(tmp_path / "x.yaml")]) == 0
    assert "tls_intercept is off" in capsys.readouterr().err


@pytest.mark.parametrize("at", ["host", ":80", "host:", "host:0", "host:http", "host:70000"])
def test_env_at_no_address(config: str, at: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, said as such."""
    with pytest.raises(SystemExit) as exit_:
        main(["env", config, "--at", at])
    assert exit_.value.code == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


def test_doctor_for_people_and_programs(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ill without any variable, in both forms; the machine's own roots are not taken for the authority."""
    assert main(["ca", config]) == 0
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert main(["doctor", config]) == 1
    assert "api.openai.com (api openai)\n  failed  redirection: cannot connect" in capsys.readouterr().out
    assert main(["doctor", config, "--json", "--timeout", "1s"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def refuse(*args: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_redirect_prints_rules(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For the port of the configuration, or another that is given."""
    assert main(["redirect", config, "--uid", "4242", "--print", "--tool", "nft"]) == 0
    out = capsys.readouterr().out
    assert "4242" in out
    assert "7171" in out
    argv = ["redirect", "--uid", "4242", "--port", "9999", "--exclude-port", "5432", "--exclude-network", "10.9.0.0/16"]
    assert main([*argv, "--print", "--tool", "nft"]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("9999", "5432", "10.9.0.0/16"))


def test_redirect_wants_to_know_where_to(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And for whom not."""
    assert main(["redirect", "--uid", "4242", "--print"]) == 1
    assert "give --port" in capsys.readouterr().err
    assert main(["redirect", config, "--print"]) == 1
    assert "--uid" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["redirect", config, "--uid", "4242"])
