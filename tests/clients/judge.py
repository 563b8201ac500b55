"""What a program printed and what the vendor counted, made into a verdict for each step. Used by ``run.py``.

A program makes one plain call, one stream, one call that fails twice, the same GET twice, the same POST with the same
key twice, and eight calls that fail. Left alone, each call is one call to the vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

TEXT: Final = "hello there agent"
_CASE: Final = {
    "plain": "plain",
    "stream": "stream",
    "retry": "flaky",
    "cache": "cached",
    "dedup": "once",
    "breaker": "down",
}
_ALONE: Final = {"plain": 1, "stream": 1, "retry": 1, "cache": 2, "dedup": 2, "breaker": 8}
_CAUGHT: Final = {"plain": 1, "stream": 1, "retry": 3, "cache": 1, "dedup": 1, "breaker": 7}  # breaker: at most
_QUICKEST: Final = 0.15  # seconds from the first of three pieces to the last, of 0.6 that the vendor takes


def calls_to_the_vendor(step: str) -> tuple[int, int]:
    """How many a step is alone, and behind Backstay."""
    return _ALONE[step], _CAUGHT[step]


def read(printed: str) -> dict[str, str]:
    """What each step came to."""
    pairs = (line.partition(" ") for line in printed.splitlines())
    return {name: value for name, _, value in pairs if name in _CASE}


def judge(step: str, printed: str | None, counts: Mapping[str, int], *, caught: bool) -> str:
    """``ok``, or what is wrong."""
    if printed is None:
        return "the program did not get there"
    expected = (_CAUGHT if caught else _ALONE)[step]
    counted = counts.get(_CASE[step], 0)
    if counted > expected or (counted < expected and (step != "breaker" or not counted)):
        return f"{counted} calls reached the vendor instead of {expected}; the program said: {printed}"
    if not _as_expected(step, printed, caught=caught):
        return f"the program said: {printed}"
    return "ok"


def _as_expected(step: str, printed: str, *, caught: bool) -> bool:
    match step:
        case "stream":
            found = re.fullmatch(r"(\d+) ([\d.]+)", printed)
            return found is not None and int(found[1]) >= 3 and float(found[2]) >= _QUICKEST
        case "retry" if not caught:
            return TEXT not in printed
        case "cache" | "dedup":
            first, _, second = printed.rpartition(" ")
            return "failed" not in printed and (first.split()[-1:] == [second.split()[-1]]) == caught
        case "breaker":
            return printed.startswith("0 ok")
        case _:
            return TEXT in printed


def refused_for_its_certificate(said: str) -> str:
    """``ok`` if an agent was told 502 and why, by Backstay."""
    body, _, status = said.rpartition(" ")
    known = '"reason": "tls"' in body and "certificate" in body.lower()
    return "ok" if status == "502" and known else f"curl said: {said[:600]}"
