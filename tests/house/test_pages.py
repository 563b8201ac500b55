"""Tests of the pages written by hand: what they point at exists, and decisions keep their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MADE = {"bench/RESULTS.md"}  # by `make bench`


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Files between backticks are seen from the root, links from the page; those of a worked example need not exist."""
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:proxy|tests|docs|config|bench|scripts|charts)/[\w./-]+)`", text)) - MADE
    assert [path for path in paths if not (ROOT / path).exists()] == []
    links = re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]+)?\)", text)
    assert [link + anchor for link, anchor in links if not leads_somewhere(page, link, anchor)] == []


def leads_somewhere(page: Path, link: str, anchor: str) -> bool:
    target = page.parent / link if link else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """As a renderer makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_decisions_are_short_and_numbered() -> None:
    """At most 40 lines each, and numbers without a gap."""
    records = sorted((DOCS / "adr").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        lines = record.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40
        assert lines[0].startswith(f"# {record.name[:4]}: ")
