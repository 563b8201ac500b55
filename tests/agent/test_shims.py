"""Tests of the shims, in real processes: clients that no variable reaches are caught, and nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.agent import shims
from tests.agent.backstand import Backstand

SHIMS = Path(shims.__file__).parent
PROGRAMS = Path(__file__).parent
NODE = shutil.which("node")


def environ_of(backstand: Backstand, **more: str) -> dict[str, str]:
    """The proxy in one case, as an agent may have it."""
    proxy = f"http://127.0.0.1:{backstand.port}"
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return {
        **coverage,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SHIMS),
        "NODE_OPTIONS": f"--require {SHIMS / shims.NODE}",
        "https_proxy": proxy,
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": "localhost,127.0.0.1",
        "BACKSTAY_CA": str(backstand.trust / "ca.crt"),
        "NODE_EXTRA_CA_CERTS": str(backstand.trust / "ca.crt"),
        **more,
    }


def run(*argv: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=50)


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", code, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SHIMS), **env})


# --- Python ------------------------------------------------------------------------------------------


def test_python_clients_that_no_variable_reaches(backstand: Backstand) -> None:
    """Plain urllib3 and aiohttp use the proxy, stripe trusts; who is told not to, does not."""
    done = run(sys.executable, PROGRAMS / "agent.py", env=environ_of(backstand))
    assert json.loads(done.stdout) == {
        "urllib3": "/urllib3",
        "urllib3 in the clear": "http://clear.vendor.test/urllib3",
        "aiohttp": "/aiohttp",
        "aiohttp in the clear": "http://clear.vendor.test/aiohttp",
        "stripe": "/v1/balance",
        "aiohttp, told not to": "ClientConnectorError",
        "urllib3, exempt": "NewConnectionError",
    }
    assert done.stderr == ""


def test_without_variables_nothing_changes() -> None:
    """And nothing is imported that is not needed anyhow."""
    code = (
        "import sys; print(sorted(sys.modules)); import ssl; print(ssl.SSLContext.load_verify_locations.__qualname__)"
    )
    bare, shimmed = python(code, PYTHONPATH=""), python(code)
    (old, unchanged), (new, method) = bare.stdout.splitlines(), shimmed.stdout.splitlines()
    added = set(new.split(", ")) - set(old.split(", "))
    assert not [name for name in added if "ssl" in name or "socket" in name or "urllib" in name]
    assert method == unchanged


def test_roots_of_a_servers_clients_are_not_added_to(backstand: Backstand) -> None:
    """What we sign must not let anybody in."""
    code = (
        "import ssl, sys; server, client = [ssl.SSLContext(kind) for kind in "
        "(ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)]\n"
        "for context in (server, client): context.load_verify_locations(sys.argv[1])\n"
        "print([context.cert_store_stats()['x509_ca'] for context in (server, client)])"
    )
    other = backstand.other.as_posix()
    done = run(sys.executable, "-c", code, other, env=environ_of(backstand))
    assert done.stdout == "[1, 2]\n"


def test_the_next_sitecustomize_is_loaded(tmp_path: Path) -> None:
    """It would be hidden by ours."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.theirs = __name__")
    path = f"{SHIMS}:{tmp_path}"
    done = python("import sitecustomize; print(theirs, sitecustomize.__file__)", PYTHONPATH=path)
    assert done.stdout == f"sitecustomize {tmp_path / 'sitecustomize.py'}\n"


def test_a_failure_is_a_line_and_the_program_goes_on(tmp_path: Path) -> None:
    """Whether it is ours or the next one's; and it is said once."""
    (tmp_path / "sitecustomize.py").write_text("1 / 0")
    code = "import ssl; [ssl.create_default_context() for _ in range(3)]; print('goes on')"
    done = python(code, PYTHONPATH=f"{SHIMS}:{tmp_path}", BACKSTAY_CA="/not/here")
    assert done.stdout == "goes on\n"
    first, second = done.stderr.splitlines()
    assert first.startswith("backstay: shim: _load_next: ZeroDivisionError")
    assert second.startswith("backstay: shim: load_verify_locations: FileNotFoundError")


# --- Node --------------------------------------------------------------------------------------------


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
def test_node_clients_that_no_variable_reaches(backstand: Backstand) -> None:
    """Fetch and every Agent go through the proxy, in TLS and in the clear; what is exempt does not."""
    assert NODE is not None
    backstand.denied.add("denied.vendor.test")
    done = run(NODE, PROGRAMS / "agent.cjs", env=environ_of(backstand))
    refusal = (
        f"error: http://127.0.0.1:{backstand.port} does not connect to denied.vendor.test:443: HTTP/1.1 403 Forbidden"
    )
    assert json.loads(done.stdout) == {
        "fetch": "/fetch",
        "fetchInTheClear": "/fetch",
        "upload": 300000,
        "globalAgent": "/global",
        "ownAgent": "/own",
        "ownAgentAgain": "/again",
        "inTheClear": "/http",
        "direct": "local",
        "fetchDirect": "local",
        "refused": refusal,
        "refusedAgent": refusal,
    }
    assert done.stderr == ""
    assert backstand.calls.count("CONNECT api.vendor.test:443 api.vendor.test:443") == 3  # connections are kept


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
def test_node_goes_on_without_a_proxy_or_with_a_bad_one() -> None:
    """A shim that cannot do its work must not keep an agent from its own."""
    assert NODE is not None
    env = {"PATH": os.environ["PATH"], "NODE_OPTIONS": f"--require {SHIMS / shims.NODE}"}
    same = (
        "console.log(fetch.name, require('http').Agent.prototype.createConnection === require('net').createConnection)"
    )
    assert run(NODE, "-e", same, env=env).stdout == run(NODE, "-e", same, env={"PATH": env["PATH"]}).stdout
    code = "fetch('http://x.test/').catch((error) => console.log(String(error.cause ?? error)))"
    assert "Invalid URL" in run(NODE, "-e", code, env={**env, "http_proxy": "::"}).stdout


# --- where they are put ------------------------------------------------------------------------------


def test_the_shims_are_put_where_they_are_asked_for(tmp_path: Path) -> None:
    """Readable by everybody, and left alone if they are there."""
    folder = tmp_path / "new" / "shims"
    shims.write(folder)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert set(before) == {"sitecustomize.py", "backstay.cjs"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    (folder / "backstay.cjs").write_text("older")
    shims.write(folder)
    assert (folder / "backstay.cjs").read_bytes() == (SHIMS / "backstay.cjs").read_bytes()
    assert (folder / "sitecustomize.py").stat().st_ino == before["sitecustomize.py"]
