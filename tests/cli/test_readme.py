"""README.md and docs/getting-started.md: what people copy works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.demo.verdict import HOW_TO

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/getting-started.md")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_configuration_shown_is_loaded_as_it_stands(page: str, tmp_path: Path) -> None:
    """Whole files, and the parts of getting-started put where its text puts them."""
    whole, *parts = blocks(page, "yaml")
    file = tmp_path / "backstay.yaml"
    file.write_text("".join([whole, *parts]))
    names = [api.name for api in load([file], {}).apis]
    assert names == (["github", "openai"] if parts else ["github"])


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_configuration_that_the_demo_recommends(page: str) -> None:
    """One example, not three."""
    shown = blocks(page, "yaml")[0].removeprefix("# backstay.yaml\n")
    assert shown in re.sub(r"^ {4}", "", HOW_TO, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the repository."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []
