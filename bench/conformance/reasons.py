"""Why Backstay does not pass what it does not pass: one sentence for each group of tests, by the start of their ids.

Called by report.py. A failure without a reason here is a defect, and is listed as one.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.conformance.suite import Verdict

REASONS = {
    "age-parse-": "RFC 9111, 5.1, which is younger than the suite, says otherwise: of several values the first counts, "
    "and one that is no number is ignored.",
    "stale-close-": "No cache can pass: an error of its own, which the RFC asks for here, counts as an answer from the "
    "cache. Backstay answers 502.",
    "heuristic-5": "Storing is optional, and a failure is never stored: an agent is better off when its next call "
    "finds that all is well again.",
    "status-5": "The same: what is not stored cannot be seen to be used, or not to be used.",
    "method-POST": "Storing the answer to a POST for later GETs is optional. `key_body` is for reads made by POST.",
    "vary-normalise-lang-": "Accept-Language is compared as any field is; what is alike in meaning and not in bytes is "
    "asked for once more.",
    "conditional-lm-fresh-no-lm": "RFC 9111, 4.3.2, takes Date where there is no Last-Modified; here it is later than "
    "If-Modified-Since, so that 304 would be wrong.",
    "headers-store-Transfer-Encoding": "The suite sends a transfer coding that does not exist; such an answer is "
    "refused (RFC 9112, 6.1).",
    "304-etag-update-response-ETag": "The origin says that what is stored is still good, and names another tag. "
    "Backstay asks again without a condition; the suite takes no second request.",
    "partial-store-partial-": "Storing parts is optional; Backstay stores wholes, and serves parts of them.",
    "surrogate-": "Surrogate-Control, a W3C note of 2001, is not supported; `CDN-Cache-Control` (RFC 9213) is.",
}


def explained(verdicts: Iterable[Verdict]) -> list[str]:
    """Required and optimal tests that were not passed, in groups, each with its reason."""
    groups: dict[str, list[str]] = {}
    for each in verdicts:
        if not each.passed and each.kind != "check":
            groups.setdefault(_group(each), []).append(each.id)
    return [f"- {_ids(ids)}: {REASONS.get(start, 'a defect.')}" for start, ids in groups.items()]


def _group(verdict: Verdict) -> str:
    return next((start for start in REASONS if verdict.id.startswith(start)), verdict.id)


def _ids(ids: list[str]) -> str:
    """A few ids in full, many by the first and their number."""
    return ", ".join(f"`{each}`" for each in ids) if len(ids) < 4 else f"`{ids[0]}` and {len(ids) - 1} like it"
