"""proxy/cli.py: commands, exit codes, and errors as sentences."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli import main
from tests.support.process import closed_port

GOOD = """\
version: 1
listen: {agent: 127.0.0.1:0}
apis:
  shop:
    url: http://127.0.0.1:9
    mount: /shop
    routes:
      - {name: orders, match: {paths: ["/v1/*"]}}
"""
BAD = """\
version: 1
apis:
  shop:
    url: http://127.0.0.1:9
    mount: /shop
    retries: {}
    breaker: {open: soon}
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    return write(tmp_path / "good.yaml", GOOD)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return write(tmp_path / "bad.yaml", BAD)


def write(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, timeout=30)


def backstay(*argv: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "proxy", *argv)


def test_check_counts_what_a_good_file_has(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that can be read by people and scripts."""
    assert main(["check", good]) == 0
    assert capsys.readouterr().out == "ok: 1 api, 1 route\n"


def test_check_prints_every_mistake_with_its_place(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them at once, on standard error, and how many there are."""
    assert main(["check", bad]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith(f"{bad}:6:5: apis.shop.retries:")
    assert lines[1].startswith(f"{bad}:7:")
    assert lines[-1] == "2 errors"


@pytest.mark.parametrize("command", [["run"], ["check"], ["explain"]])
def test_a_missing_file_is_a_sentence(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and the name that was given."""
    rest = ["GET", "/"] if command == ["explain"] else []
    assert main([*command, "nowhere.yaml", *rest]) == 1
    assert capsys.readouterr().err == "backstay: no such file or directory: nowhere.yaml\n"


def test_run_refuses_a_bad_file_like_check(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What check finds, run finds."""
    assert main(["run", bad]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "2 errors"


def test_run_says_that_a_port_is_taken(tmp_path: Path) -> None:
    """The address is in the message, and there is no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        config = GOOD.replace("{agent: 127.0.0.1:0}", f"{{agent: 127.0.0.1:{port}, metrics: off, admin: off}}")
        done = backstay("run", write(tmp_path / "taken.yaml", config))
    assert done.returncode == 1
    assert port in done.stderr
    assert "change `listen`" in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_names_api_and_route(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An agent's URL leads to its api and route."""
    assert main(["explain", good, "GET", "http://127.0.0.1:7070/shop/v1/orders/1"]) == 0
    out = capsys.readouterr().out
    assert "shop" in out
    assert "orders" in out


def test_explain_wants_a_url(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no URL is wrong usage, on standard error, not an explanation."""
    assert main(["explain", good, "GET", "orders"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("backstay: 'orders' is neither a url")


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors can read it."""
    assert main(["schema"]) == 0
    assert "apis" in json.loads(capsys.readouterr().out)["properties"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """A name and a number."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"backstay {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["serve"],
        ["run"],
        ["check"],
        ["explain", "x.yaml", "GET"],
        ["demo", "--duration", "1"],
        ["demo", "--duration", "soon"],
        ["demo", "--seed", "x"],
    ],
)
def test_wrong_usage_is_2(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As every command line does."""
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert "usage: backstay" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["run", "health", "check", "explain", "schema", "env", "doctor", "redirect", "ca", "prepare", "demo", "version"],
)
def test_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """People copy examples."""
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"  backstay {command}" in capsys.readouterr().out.split("example")[1]


def test_version_does_not_import_what_it_does_not_need() -> None:
    """Start-up time counts."""
    code = "import sys; from proxy.cli import main; main(['version']); print([m for m in sys.modules])"
    loaded = python("-c", code).stdout
    for heavy in ("aiohttp", "pydantic", "uvloop", "asyncio", "yaml"):
        assert f"'{heavy}'" not in loaded


def test_health_says_what_is_wrong_and_imports_little() -> None:
    """A probe is run every few seconds, for as long as there is a pod."""
    code = "import sys; from proxy.cli import main; print(main(sys.argv[1:]), *(repr(m) for m in sys.modules))"
    with closed_port() as port:
        done = python("-c", code, "health", "--at", f"127.0.0.1:{port}")
    assert done.stderr == f"backstay: http://127.0.0.1:{port}/healthz does not answer: Connection refused\n"
    assert done.stdout.split()[0] == "1"
    for heavy in ("aiohttp", "pydantic", "asyncio", "yaml", "ssl", "http.client", "proxy.config.settings"):
        assert repr(heavy) not in done.stdout.split()


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`backstay schema | head -1` is quiet."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "proxy", "schema"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.fixture
def heeded() -> Iterator[None]:
    """What a shell starts in the background is deaf to Ctrl-C, and so is what it starts: not here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_is_130(good: str) -> None:
    """A demonstration that is interrupted ends with everything it started."""
    child = subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    before = children(child.pid)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert err == "backstay: interrupted\n"
    assert len(before) == 3
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
