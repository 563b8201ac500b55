"""docs/configuration.md is what the schema says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proxy.config.reference import reference
from proxy.config.schema import Model


def test_the_page_is_up_to_date() -> None:
    """If this fails: make docs, and commit."""
    assert Path("docs/configuration.md").read_text(encoding="utf-8") == reference()


def test_every_key_of_every_model_is_on_the_page() -> None:
    """A key that nobody can read about does not exist."""
    page = reference()
    for model in Model.__subclasses__():
        assert all(f"| `{key}` |" in page for key in model.model_fields)


def test_rows_say_kind_default_and_meaning() -> None:
    """As a person would write them."""
    page = reference()
    assert "| `first_byte` | duration or off | `60s` | To the headers of the answer, per attempt. |" in page
    assert "| `rate` | rate | required | Calls per time. |" in page
    assert "| `breaker` | keys or off | see below |" in page
    assert "| `safe` | `true` or `false` | `false` |" in page
    assert "| `failure` | list of: status code or range | `[500-599]` |" in page
    assert "| `mount` | path |  |" in page
    assert "| `routes` | list of keys | `[]` |" in page
    assert "| `fallback` | list of: `stale` or keys or off | `off` |" in page
    assert "| `headers` | mapping of names to: text | `{}` |" in page
    assert "| `body` | text | empty |" in page
    assert "| `apis` | keys |" in page
    assert "\n`stale` is the answer that the cache still has" in page


def test_it_prints_the_page() -> None:
    """That is how make writes the file."""
    done = subprocess.run([sys.executable, "-m", "proxy.config.reference"], capture_output=True, text=True, check=True)
    assert done.stdout == reference()
