"""Tests of the page: it is what ``make test-clients`` would write, as far as that can be told without running it."""

from __future__ import annotations

import json
import re

from tests.clients.catalogue import CLIENTS, STEPS
from tests.clients.page import render
from tests.clients.run import PAGE
from tests.clients.vendor import BAD
from tests.clients.world import ROOT

WELL = dict.fromkeys(STEPS, "ok")


def written_versions() -> dict[str, str]:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| `", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len(CLIENTS)
    return {client.label: version for client, (_, _, version) in zip(CLIENTS, rows, strict=True)}


def test_the_page_is_what_would_be_written() -> None:
    """All was well when it was written, and nothing in it or in what writes it has changed since."""
    results = {client.label: {"forward": WELL, "transparent": WELL} for client in CLIENTS}
    certificates = {host: {"forward": {"502": "ok"}, "transparent": {"502": "ok"}} for host in BAD}
    assert PAGE.read_text() == render(results, certificates, written_versions())


def test_versions_are_those_that_are_pinned() -> None:
    """Who pins others runs the clients again."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements/clients.txt").read_text(), re.MULTILINE))
    for runtime in ("node20", "node24"):
        lock = json.loads((ROOT / f"tests/clients/{runtime}/package-lock.json").read_text())
        pinned |= {
            f"{runtime} {name.removeprefix('node_modules/')}": each["version"]
            for name, each in lock["packages"].items()
            if name
        }
    for client in CLIENTS:
        key = client.package if client.runtime == "python" else f"{client.runtime} {client.package}"
        assert pinned.get(key, written_versions()[client.label]) == written_versions()[client.label]


def test_what_does_not_hold_is_said() -> None:
    """A failure is in its cell, and in a list with the reason."""
    bad = {**WELL, "cache": "2 calls reached the vendor"}
    results = {client.label: {"forward": bad, "transparent": WELL} for client in CLIENTS}
    page = render(results, {}, dict.fromkeys(results, "1"))
    assert "| httpx | Python | yes | yes | yes | yes | **no** | yes |" in page
    assert "- python httpx, forward, cache: 2 calls reached the vendor\n" in page
