"""Rows about policies: retries, cache and fallbacks, limits, calls that must happen once. Used by dashboard.py."""

from __future__ import annotations

from typing import Final

from charts.generate.panels import BLUE, GREEN, ORANGE, RED, YELLOW, Bars, Lines, Number, Row
from charts.generate.promql import events, now, quantile, rate, total, unknown_outcomes

_TRIES: Final = "backstay_attempts_total"
_RETRIES: Final = "backstay_retries_total"
_CACHE: Final = "backstay_cache_requests_total"
_LIMIT: Final = "backstay_ratelimit_decisions_total"
_ONCE: Final = "backstay_idempotency_requests_total"
_ANSWERED: Final = {"result": "=~hit|stale|coalesced|revalidated"}


def _share(metric: str, part: dict[str, str], whole: dict[str, str], *, by: str) -> str:
    return f"{rate(metric, part, by=by)} / {rate(metric, whole, by=by)}"


_ADDED: Final = f"{rate(_TRIES, {'try': 'again'})} / {rate(_TRIES, {'try': 'first'})}"

RETRIES: Final = Row(
    "Retries and their budget",
    (
        Lines(
            "What was decided",
            "retried, or why not: no attempts left, unsafe to repeat, the vendor asked for a longer pause, no time "
            "left, or the budget was spent.",
            {"{{result}}": rate(_RETRIES, by="result")},
            "ops",
            stacked=True,
        ),
        Lines(
            "What had failed",
            "Tries that were followed by another, by what had gone wrong with them.",
            {"{{reason}}": rate(_RETRIES, {"result": "retried"}, by="reason")},
            "ops",
            stacked=True,
        ),
        Lines(
            "Budget that is left",
            "The fullest is 1; at 0 nothing is retried, so that a vendor that is down is not hammered. The least "
            "of the chosen pods.",
            {"{{budget}}": now("backstay_retry_budget_ratio", by="budget", how="min")},
            "percentunit",
            ((None, RED), (0.1, YELLOW), (0.5, GREEN)),
            top=1,
        ),
        Lines(
            "Later tries that went well",
            "Of the tries that followed a failed one: how many went well. Near 0, retries only add load; look at "
            "backoff, or let the circuit open earlier.",
            {"{{api}}": _share(_TRIES, {"try": "again", "verdict": "success"}, {"try": "again"}, by="api")},
            "percentunit",
            width=12,
            top=1,
        ),
        Lines(
            "Load that retries add",
            "Later tries for each first one. The budget bounds it.",
            {"all": _ADDED, "{{api}}": _share(_TRIES, {"try": "again"}, {"try": "first"}, by="api")},
            "percentunit",
            ((None, GREEN), (0.2, ORANGE)),
            width=12,
        ),
    ),
)
"""What was sent again, and what was not."""

_ASKED: Final = {"result": "!~bypass|refreshed"}

CACHE: Final = Row(
    "Cache and fallbacks",
    (
        Lines(
            "Reads, by what the cache did",
            "bypass: not the cache's to answer. coalesced: shared the answer of a call that was under way. "
            "refreshed: fetched behind an answer that had been given.",
            {"{{result}}": rate(_CACHE, by="result")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Reads that cost the vendor little or nothing",
            "Share of the reads that a cache may answer: hits, stale and shared answers, and those that the vendor "
            "only had to confirm.",
            {"{{api}}": _share(_CACHE, _ANSWERED, _ASKED, by="api")},
            "percentunit",
            top=1,
        ),
        Lines(
            "Stale share",
            "Share of those reads that got an answer past its freshness. It climbs in an outage, and should fall "
            "after it.",
            {"{{api}}": _share(_CACHE, {"result": "stale"}, _ASKED, by="api")},
            "percentunit",
            ((None, GREEN), (0.05, YELLOW), (0.5, RED)),
            top=1,
        ),
        Lines(
            "How old stale answers were",
            "Time past their freshness when they were given.",
            {f"p{share * 100:g}": quantile(share, "backstay_cache_stale_age_seconds") for share in (0.5, 0.95)},
            "s",
        ),
        Lines(
            "Memory that answers take",
            "By store, over the chosen pods; limits.memory.cache is the bound of each.",
            {"{{store}}": now("backstay_cache_bytes", by="store")},
            "bytes",
            stacked=True,
        ),
        Lines(
            "Fallbacks",
            "Calls that would have ended in an error, by what the agent got instead. none: there was nothing left.",
            {"{{api}}: {{kind}}": rate("backstay_fallbacks_total", by="api, kind")},
            "reqps",
            stacked=True,
        ),
    ),
)
"""Answers that were at hand."""

LIMITS: Final = Row(
    "Limits",
    (
        Lines(
            "Decisions of the rate limit",
            "One for each try. delayed: it waited for its turn. limited: the agent got a 429 that says when there "
            "is room.",
            {"{{api}}: {{decision}}": rate(_LIMIT, by="api, decision")},
            "ops",
            stacked=True,
        ),
        Lines(
            "Held back",
            "Share of the tries that were delayed or refused. For long above zero, the agents want more than the "
            "vendor's quota.",
            {"{{api}}": _share(_LIMIT, {"decision": "!=allowed"}, {}, by="api")},
            "percentunit",
            ((None, GREEN), (0.05, YELLOW), (0.25, RED)),
            top=1,
        ),
        Lines(
            "Throttled by the vendor all the same",
            "Tries that a vendor answered with 429: the configured rate is above its quota, or others share it.",
            {"{{api}}": rate(_TRIES, {"verdict": "throttled"}, by="api")},
            "ops",
            stacked=True,
        ),
        Bars(
            "What policies in shadow would have done",
            "mode: shadow decides and counts, and lets the call pass. If this looks right, turn it on.",
            {"{{api}} {{policy}}: {{decision}}": events("backstay_shadow_decisions_total", by="api, policy, decision")},
            width=24,
        ),
    ),
)
"""What was held back, or would be."""

_STOPPED: Final = "=~in_progress|mismatch|key_missing|key_malformed|refused|unknown"

SIDE_EFFECTS: Final = Row(
    "Side effects",
    (
        Number(
            "Outcomes that nobody knows",
            "Records that wait for a person, or for their end: look at the vendor, then settle them by the admin API.",
            unknown_outcomes(),
            steps=((None, GREEN), (1, RED)),
            live=True,
        ),
        Number(
            "Made for the first time",
            "Calls that must happen once, and that were sent.",
            total(_ONCE, {"result": "first"}),
        ),
        Number(
            "Repeats that were not sent",
            "They got the first answer, or that of the call that was under way.",
            total(_ONCE, {"result": "=~replayed|joined"}),
            steps=((None, GREEN),),
        ),
        Number(
            "Stopped",
            "Repeats that were refused: under way elsewhere, another call under the same key, or an outcome that "
            "nobody knows.",
            total(_ONCE, {"result": _STOPPED}),
            steps=((None, GREEN), (1, ORANGE)),
        ),
        Number(
            "Sent without protection",
            "Calls without a key or scope, too large for a key that is derived, or while the store was away and "
            "on_store_error is open.",
            total(_ONCE, {"result": "=~no_key|no_scope|oversized|unprotected"}),
            steps=((None, GREEN), (1, YELLOW)),
        ),
        Number(
            "Sent again to a vendor that honours keys",
            "Repeats of calls whose outcome was not known, to a vendor that carries out a key once.",
            total(_ONCE, {"result": "resent"}),
            steps=((None, BLUE),),
        ),
        Lines(
            "Calls that must happen once",
            "Each counted once, by what the ledger made of it.",
            {"{{api}}: {{result}}": rate(_ONCE, by="api, result")},
            "reqps",
            width=12,
            stacked=True,
        ),
        Lines(
            "Unknown outcomes",
            "By store. Each begins with an answer that never came.",
            {"{{store}}": unknown_outcomes(by="store")},
            steps=((None, GREEN), (1, RED)),
            width=6,
        ),
        Bars(
            "Errors of stores",
            "open: the call went on without the store. closed: it was refused. owed: the ledger is told later.",
            {"{{store}}: {{mode}}": events("backstay_store_errors_total", by="store, mode")},
            width=6,
        ),
    ),
)
"""Calls that must happen once."""

ROWS: Final = (RETRIES, CACHE, LIMITS, SIDE_EFFECTS)
"""In the order of the issue that an operator has."""
