"""Commands as people type them: what is printed where, and the exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml

from tests.support.process import command, document

MISTAKES = """\
version: 1
listen: {agent: 127.0.0.1:0, metric: 127.0.0.1:0}
apis:
  shop:
    url: ftp://shop.test
    mount: shop
    timeout: {total: 5 minutes}
    retry: {attempts: none}
"""


def test_check_prints_every_mistake_with_its_line(tmp_path: Path) -> None:
    """Five mistakes are five lines, in the order of the file, each with a place that an editor can jump to."""
    file = tmp_path / "bad.yaml"
    file.write_text(MISTAKES)
    done = command("check", file)
    lines = [line for line in done.stderr.splitlines() if line.startswith(str(file))]
    assert done.returncode == 1
    assert [int(line.removeprefix(f"{file}:").split(":")[0]) for line in lines] == [2, 5, 6, 7, 8]
    for line, path in zip(lines, ("metric", "url", "mount", "timeout.total", "retry.attempts"), strict=True):
        assert path in line
    assert "metrics" in lines[0]
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["check", "run", "explain"])
def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path, name: str) -> None:
    """No traceback for a typo."""
    more = ["GET", "/a"] if name == "explain" else []
    done = command(name, tmp_path / "missing.yaml", *more)
    assert done.returncode == 1
    assert "missing.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_on_a_bad_file_prints_what_check_prints(tmp_path: Path) -> None:
    """And does not start."""
    file = tmp_path / "bad.yaml"
    file.write_text(MISTAKES)
    assert command("run", file).stderr == command("check", file).stderr
    assert command("run", file).returncode == 1


def test_an_empty_file_lacks_something(tmp_path: Path) -> None:
    """The mistake has a place, though the file has no line."""
    file = tmp_path / "empty.yaml"
    file.touch()
    assert command("check", file).stderr.startswith(f"{file}:1:1: version")


def test_a_certificate_file_without_one_is_a_mistake(tmp_path: Path) -> None:
    """It is found before the first call, and has its line like any other."""
    file, ca_file = tmp_path / "backstay.yaml", tmp_path / "ca.pem"
    ca_file.touch()
    content = document({"shop": {"url": "https://shop.test", "tls": {"ca_file": str(ca_file)}}})
    file.write_text(yaml.safe_dump(content))
    done = command("run", file)
    assert done.returncode == 1
    assert "apis.shop.tls.ca_file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("listener", ["agent", "metrics", "admin"])
def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, listener: str) -> None:
    """It says which address, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        content = document({"shop": {"url": "http://shop.test"}})
        content["listen"][listener] = address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = tmp_path / "backstay.yaml"
        file.write_text(yaml.safe_dump(content))
        done = command("run", file)
    assert done.returncode == 1
    assert address in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_explain_says_what_a_call_would_meet(tmp_path: Path) -> None:
    """The api, the route, and every setting with the line it came from."""
    file = tmp_path / "backstay.yaml"
    file.write_text(
        "version: 1\n"
        "defaults: {timeout: {total: 42s}}\n"
        "apis:\n"
        "  shop:\n"
        "    url: https://shop.test/v2\n"
        "    mount: /shop\n"
        "    routes:\n"
        "      - name: search\n"
        "        match: {methods: [POST], paths: [/search]}\n"
        "        retry: {safe: true}\n"
    )
    done = command("explain", file, "POST", "/shop/search?q=1")
    assert done.returncode == 0, done.stderr
    for expected in ("shop", "search", "https://shop.test/v2/search", "42s", f"{file}:2", "safe"):
        assert expected in done.stdout
    assert "search" not in command("explain", file, "GET", "/shop/other").stdout


def test_check_schema_and_version_succeed(tmp_path: Path) -> None:
    """The everyday answers."""
    file = tmp_path / "backstay.yaml"
    file.write_text(yaml.safe_dump(document({"shop": {"url": "http://shop.test"}})))
    assert command("check", file).stdout == "ok: 1 api, 0 routes\n"
    assert json.loads(command("schema").stdout)["type"] == "object"
    assert command("version").stdout.startswith("backstay ")


def test_wrong_usage_is_exit_code_2() -> None:
    """As people expect of a command."""
    assert command("frobnicate").returncode == 2
    assert command("--help").returncode == 0
