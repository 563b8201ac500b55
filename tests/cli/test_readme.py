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


@pytest.mark.parametrize(
    ("page", "apis"),
    [
        ("README.md", [["github"], ["github"]]),
        ("docs/getting-started.md", [["github", "openai"]]),
        ("docs/capture.md", [["stripe"]]),
    ],
)
def test_the_configurations_shown_are_loaded_as_they_stand(page: str, apis: list[list[str]], tmp_path: Path) -> None:
    """Whole files, and the parts behind one put where the text puts them; the spec of a pod is none."""
    files: list[str] = []
    for block in blocks(page, "yaml"):
        if "version: 1\n" in block:
            files.append(block)
        elif not block.startswith("spec:"):
            files[-1] += block
    file = tmp_path / "backstay.yaml"
    found = []
    for text in files:
        file.write_text(text)
        found.append([api.name for api in load([file], {}).apis])
    assert found == apis


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_configuration_that_the_demo_recommends(page: str) -> None:
    """One example, not three."""
    shown = blocks(page, "yaml")[0].removeprefix("# backstay.yaml\n")
    assert shown in re.sub(r"^ {4}", "", HOW_TO, flags=re.MULTILINE)
