"""Tests of docs/policies/idempotency.md: what it lists is what the code has, and what it shows is what it says."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from proxy.chain import _IDEMPOTENCY_RESULTS
from proxy.config.load import load
from proxy.config.units import write_duration
from proxy.core.idempotency import RELEASING
from proxy.core.vendors import VENDORS, Vendor
from proxy.stores.ledger_redis import weaknesses

PAGE = Path(__file__).parents[2] / "docs" / "policies" / "idempotency.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def row(vendor: Vendor) -> str:
    """A vendor as the page has it."""
    hosts = ", ".join(f"`{host}`" for host in vendor.hosts)
    methods = ", ".join(sorted(method.decode() for method in vendor.methods))
    calls = "all" if vendor.paths is None else "some"
    if vendor.remembers == math.inf:
        remembers = "for ever"
    else:
        remembers = write_duration(vendor.remembers) if vendor.remembers else "-"
    return f"| {vendor.name} | {hosts} | `{vendor.header.decode()}` | {methods} | {calls} | {remembers} |"


def test_every_vendor_is_in_the_table(page: str) -> None:
    """An operator who looks whether a key counts must find what the sidecar goes by."""
    section = page.partition("\n## Vendors whose keys are known\n")[2]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table[0] == "| vendor | hosts | field | methods | calls | remembers |"
    assert table[2:] == [row(vendor) for vendor in VENDORS]


def test_every_result_is_explained(page: str) -> None:
    """A word of a metric that no page has cannot be acted upon."""
    section = page.partition("\n## Metrics\n")[2].partition("\n| query |")[0]
    rows = re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
    named = [result for cell in rows for result in re.findall(r"`(\w+)`", cell) if result != "result"]
    assert sorted(named) == sorted(_IDEMPOTENCY_RESULTS)


def test_the_statuses_that_release_are_listed(page: str) -> None:
    """These are the calls that are made again without a question."""
    assert f"| {', '.join(map(str, sorted(RELEASING)))} |" in page


def test_the_settings_of_the_server_leave_nothing_to_warn_of(page: str) -> None:
    """Who follows the page gets no warning at start."""
    (lines,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    settings = dict(line.split() for line in lines.splitlines())
    assert weaknesses({"maxmemory": "1", "replicas": "0", **settings}) == ()


def test_the_example_is_a_configuration(page: str, tmp_path: Path) -> None:
    """What is copied from the page runs."""
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "backstay.yaml").write_text(text)
    (api,) = load([tmp_path / "backstay.yaml"], {}).apis
    assert api.policies.idempotency is not None
    assert api.policies.idempotency.store == "ledger"
