"""docs/configuration.md is what the schema says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from proxy.config.keys import Model, keys_of
from proxy.config.reference import reference


def test_the_page_is_up_to_date() -> None:
    """If this fails: make docs, and commit."""
    assert Path("docs/configuration.md").read_text(encoding="utf-8") == reference()


def test_every_key_of_every_model_is_on_the_page() -> None:
    """A key that nobody can read about does not exist."""
    page = reference()
    for model in Model.__subclasses__():
        assert all(f"| `{key}` |" in page for key in keys_of(model))


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
    assert "| `derive` | keys or off | `off` |" in page
    assert (
        "| `from` | list of: `method`, `path`, `query`, `body` or `header:NAME` | `[method, path, query, body]` |"
        in page
    )
    assert "| `upstream_header` | `auto` or name of a field or off | `auto` |" in page
    assert "| `ledger` | `sqlite:/PATH` or off | `off` |" in page
    assert "\n`stale` is the answer that the cache still has" in page


def test_it_prints_the_page() -> None:
    """That is how make writes the file."""
    done = subprocess.run([sys.executable, "-m", "proxy.config.reference"], capture_output=True, text=True, check=True)
    assert done.stdout == reference()
