"""proxy/demo/stage.py: the whole demonstration, with real processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from proxy.demo.stage import Options, run


@pytest.mark.slow
def test_people_get_lines_on_the_way_and_sentences_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Every phase is named as it begins; the last words are how to use it."""
    run(Options(duration=6))
    out = capsys.readouterr().out
    for expected in ("is HEALTHY", "is FLAKY", "is DOWN", "is RECOVERED", "Verdict: ", "backstay run backstay.yaml"):
        assert expected in out


@pytest.mark.slow
def test_a_short_demonstration_shows_what_it_should() -> None:
    """In eight seconds: fewer failures when flaky, fewer requests in the outage, no hang, and recovery."""
    command = [sys.executable, "-m", "proxy", "demo", "--duration", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    found = json.loads(done.stdout)
    assert [check["claim"] for check in found["checks"] if not check["passed"]] == []
    assert done.returncode == 0
    assert done.stderr == ""
    direct, ours = found["direct"], found["backstay"]
    assert direct["calls"] == ours["calls"] == found["calls"]
    assert ours["phases"]["flaky"]["failed"] < direct["phases"]["flaky"]["failed"]
    reads = ours["reads"]["phases"]["outage"]
    assert (reads["failed"], reads["passed_off"]) == (0, 0)
    assert reads["stale"] > 0
    assert direct["reads"]["phases"]["outage"]["failed"] == direct["reads"]["phases"]["outage"]["reads"]
    assert ours["reads"]["reached_vendor"] < direct["reads"]["reached_vendor"]
    assert found["problem"]["reason"] == "circuit_open"
    assert found["problem"]["advice"]
