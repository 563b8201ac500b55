"""Writes docs/helm-values.md from the comments of values.yaml: every value with its default and what it means.

Run as ``python -m charts.generate.values_table``, which prints it; a test compares the file with it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from charts.generate.values import CHART, Section, Value, sections

_HEAD: Final = """\
# Values of the chart

<!-- Generated from charts/backstay/values.yaml by `make docs`; edit the comments there instead. -->

What `charts/backstay` takes; [kubernetes.md](kubernetes.md) says what for. Names and kinds are checked by
`values.schema.json` before anything reaches the cluster: a value that is not in this page is refused, with its path.
So is what is in `config`, key for key: its schema is the one that `backstay schema` prints.

What no schema can compare is refused by the templates, in a sentence: a configuration without an api,
`listen.metrics` where no probe comes, `capture: transparent` without `listen.transparent`, a
`terminationGracePeriodSeconds` that is shorter than `drain.timeout` and 5 s.

In `config`, write what [configuration.md](configuration.md) says. Helm reads YAML 1.1, and makes `false` of `off`:
they mean the same. `yes`, `no` and `on` as text need quotes. With `configMap.existing` it is not put anywhere, but
read all the same.

As a subchart it stands below its name (`backstay.image.tag`). There, `enabled` may serve as the `condition` of the
dependency, and `global` is left alone.
"""
_PAGE: Final = re.compile(r"docs/(\w+\.md)")


def table() -> str:
    """The whole page."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return "\n".join([_HEAD, *("\n".join(_section(section)) for section in sections(text))])


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n"
    if section.about:
        yield f"{section.about}\n"
    yield "| value | default | meaning |"
    yield "|---|---|---|"
    yield from map(_row, section.values)
    yield ""


def _row(value: Value) -> str:
    meaning = _PAGE.sub(r"[\1](\1)", value.meaning)
    return f"| `{'.'.join(value.path)}` | {_written(value.default)} | {meaning} |"


def _written(default: Any) -> str:
    """As it would be written in one line; a long one is for values.yaml to show."""
    if default is None or default == "":
        return ""
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


if __name__ == "__main__":
    sys.stdout.write(table())
