"""What a doctor says: one finding a line, with what to do where something is wrong. Used by doctor.py and its parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Final, Literal

Result = Literal["ok", "warning", "failed"]

_INDENT: Final = " " * 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str  # the heading it stands under: a part of the environment, or a host
    result: Result
    what: str
    mend: str = ""


def ok(about: str, what: str) -> Finding:
    """It is as it should be."""
    return Finding(about, "ok", what)


def warning(about: str, what: str, mend: str) -> Finding:
    """Some clients, or some day, will have trouble with it."""
    return Finding(about, "warning", what, mend)


def failed(about: str, what: str, mend: str) -> Finding:
    """Calls will not be caught, or not come through."""
    return Finding(about, "failed", what, mend)


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing has failed."""
    return all(finding.result != "failed" for finding in findings)


def as_text(findings: Iterable[Finding]) -> str:
    """For people."""
    lines: list[str] = []
    for about, group in groupby(findings, lambda finding: finding.about):
        lines.append(about)
        for finding in group:
            lines.append(f"  {finding.result:<8}{finding.what}")
            if finding.mend:
                lines.append(f"{_INDENT}-> {finding.mend}")
    return "\n".join(lines)


def as_object(findings: Iterable[Finding]) -> dict[str, Any]:
    """For programs."""
    found = list(findings)
    return {"ok": is_well(found), "findings": [asdict(finding) for finding in found]}
