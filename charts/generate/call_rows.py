"""Rows about calls: what Backstay saved, what agents saw, circuits, and where the time went. Used by dashboard.py."""

from __future__ import annotations

from typing import Final

from charts.generate.panels import BLUE, GREEN, ORANGE, RED, YELLOW, Bars, Heat, Lines, Number, Row, Sheet, States
from charts.generate.promql import events, grown, now, of, quantile, rate, total, unknown_outcomes

RESCUED: Final = "=~stale|api|static"
GOOD: Final = {"outcome": "=~forwarded|hit|coalesced|stale|replayed|fallback", "code": "!~5..|429"}
"""Answers that an agent can work with: a 404 is one, an error of the vendor's that was passed on is not."""
COUNTED: Final = {"outcome": "!~abandoned|rejected"}
"""Calls that somebody waited for, and that were right as the agent made them."""
FIRST: Final = {"try": "first", "verdict": "!=ignored"}
WELL: Final = {"try": "first", "verdict": "success"}
MENDED: Final = {"try": "again", "verdict": "success"}

_CALLS: Final = "backstay_requests_total"
_TRIES: Final = "backstay_attempts_total"
_SHARE: Final = ((None, RED), (0.9, ORANGE), (0.99, YELLOW), (0.999, GREEN))
_SECONDS: Final = ((None, GREEN), (0.005, YELLOW), (0.025, RED))  # of ours: measured at well below a millisecond


_REFUSED: Final = {"outcome": "refused", "reason": "circuit_open"}

SAVED: Final = Row(
    "What Backstay saved",
    (
        Number(
            "Would have failed, and did not",
            "Calls whose vendor failed, and whose agent got an answer all the same: from a later try, an answer "
            "that had been kept, another API, or the operator's own. In the time that is shown.",
            f"sum({grown(_TRIES, MENDED)} or {grown('backstay_fallbacks_total', {'kind': RESCUED})})",
            steps=((None, GREEN),),
        ),
        Number(
            "Agents: good answers",
            "Of the calls that an agent waited for: how many ended in an answer that it could work with. A 404 is "
            "one; a 5xx, a 429 and a refusal are none.",
            f"{total(_CALLS, GOOD)} / {total(_CALLS, COUNTED)}",
            "percentunit",
            _SHARE,
            none="no calls",
        ),
        Number(
            "Vendors: first tries that went well",
            "What agents would have got, had each call been sent once. While a circuit is open nothing is sent, "
            "and so nothing is counted: the truth is no better than this.",
            f"{total(_TRIES, WELL)} / {total(_TRIES, FIRST)}",
            "percentunit",
            _SHARE,
            none="no tries",
        ),
        Number(
            "Circuits open now",
            "Circuits that let no call pass, over all pods, those in shadow included. One stays open until somebody "
            "calls again.",
            now("backstay_breaker_state", {"state": "=~open|forced_open"}),
            steps=((None, GREEN), (1, RED)),
            live=True,
        ),
        Number(
            "Outcomes that nobody knows",
            "Calls that must happen once, were sent, and never answered. They are not sent again until somebody "
            "looks at the vendor and settles them. Any is one too many.",
            unknown_outcomes(),
            steps=((None, GREEN), (1, RED)),
            live=True,
        ),
        Number(
            "Lost all the same",
            "Calls that ended in an error of the vendor's, a refusal or a cut answer, after everything that was "
            "configured had been tried.",
            f"{total(_CALLS, COUNTED)} - {total(_CALLS, GOOD)}",
            steps=((None, GREEN), (1, ORANGE)),
        ),
        Number(
            "Mended by trying again",
            "Calls whose first try failed and a later one went well. The agent noticed nothing but a delay.",
            total(_TRIES, MENDED),
        ),
        Number(
            "Answered from before",
            "Calls that got an older answer from the cache because the vendor failed. It is marked as old.",
            total("backstay_fallbacks_total", {"kind": "stale"}),
        ),
        Number(
            "Answered from elsewhere",
            "Calls that got the answer of another API, or one that the operator wrote, because the vendor failed.",
            total("backstay_fallbacks_total", {"kind": "=~api|static"}),
        ),
        Number(
            "Not done twice",
            "Repeats of calls that must happen once: they got the first answer, and nothing was sent.",
            total("backstay_idempotency_requests_total", {"result": "=~replayed|joined"}),
        ),
        Number(
            "Refused at once, not left hanging",
            "Calls that an open circuit refused in milliseconds, with advice for the model, in place of a wait for "
            "a vendor that is down.",
            total(_CALLS, _REFUSED),
        ),
        Number(
            "Spared the vendor",
            "Reads that were answered without a call of their own: from the cache, or with the answer to the same "
            "call that was under way.",
            total("backstay_cache_requests_total", {"result": "=~hit|stale|coalesced"}),
        ),
        Lines(
            "Rescued, by what did it",
            "Calls per second whose vendor failed and whose agent got an answer all the same.",
            {
                "tried again": rate(_TRIES, MENDED),
                "instead: {{kind}}": rate("backstay_fallbacks_total", {"kind": RESCUED}, by="kind"),
            },
            "reqps",
            width=12,
            stacked=True,
        ),
        Lines(
            "Good answers: agents and vendors",
            "Above: the share of calls that ended well for agents. Below: the share of first tries that went well "
            "at vendors. The space between them is what Backstay is for.",
            {
                "agents": f"{rate(_CALLS, GOOD)} / {rate(_CALLS, COUNTED)}",
                "vendors": f"{rate(_TRIES, WELL)} / {rate(_TRIES, FIRST)}",
            },
            "percentunit",
            width=12,
            top=1,
        ),
    ),
    closed=False,
)
"""What would have been worse without it."""

SEEN: Final = Row(
    "What agents saw, and what vendors gave",
    (
        Sheet(
            "APIs",
            "Each API in the time that is shown: calls of agents, how they ended, and what the vendor did.",
            "api",
            {
                "calls": (total(_CALLS, by="api"), "short"),
                "agents: good": (
                    f"{total(_CALLS, GOOD, by='api')} / {total(_CALLS, COUNTED, by='api')}",
                    "percentunit",
                ),
                "vendor: good first tries": (
                    f"{total(_TRIES, WELL, by='api')} / {total(_TRIES, FIRST, by='api')}",
                    "percentunit",
                ),
                "mended by trying again": (total(_TRIES, MENDED, by="api"), "short"),
                "answered otherwise": (total("backstay_fallbacks_total", {"kind": RESCUED}, by="api"), "short"),
                "p95 of a call": (
                    quantile(0.95, "backstay_request_duration_seconds", by="api", over="$__range"),
                    "s",
                ),
            },
        ),
        Lines(
            "Agents: good answers by API",
            "Share of the calls that an agent waited for and that ended well.",
            {"{{api}}": f"{rate(_CALLS, GOOD, by='api')} / {rate(_CALLS, COUNTED, by='api')}"},
            "percentunit",
            ((None, RED), (0.99, GREEN)),
            width=12,
            top=1,
        ),
        Lines(
            "Vendors: first tries that went well, by API",
            "Share of first tries that went well. It has a gap while a circuit is open, since nothing is sent.",
            {"{{api}}": f"{rate(_TRIES, WELL, by='api')} / {rate(_TRIES, FIRST, by='api')}"},
            "percentunit",
            ((None, RED), (0.99, GREEN)),
            width=12,
            top=1,
        ),
        Lines(
            "Calls of agents, by how they ended",
            "forwarded: the vendor's answer, also an error. refused: by a policy, nothing was sent. failed: no "
            "usable answer. rejected: the agent's request was at fault. The rest is what it got in place of a call.",
            {"{{outcome}}": rate(_CALLS, by="outcome")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Answers by status",
            "Status codes as agents got them, those of Backstay's own errors among them.",
            {"{{code}}": rate(_CALLS, by="code")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Why calls were not forwarded",
            "The reason that the agent was told, or how an answer was cut.",
            {"{{reason}}": rate(_CALLS, {"reason": "!="}, by="reason")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Tries at vendors, by verdict",
            "What vendors did with what was sent to them, retries included. throttled: 429. ignored: the agent "
            "left, so it says nothing about the vendor.",
            {"{{verdict}}, {{try}}": rate(_TRIES, by="verdict, try")},
            "ops",
            stacked=True,
        ),
        Lines(
            "Calls by API",
            "Calls of agents per second, however they ended.",
            {"{{api}}": rate(_CALLS, by="api")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Under way",
            "Calls that have begun and not ended. A line that only climbs is a vendor that hangs.",
            {"{{api}}": now("backstay_inflight_requests", by="api")},
            stacked=True,
        ),
    ),
    closed=False,
)
"""The same calls from both sides."""

_CODED: Final = " or ".join(
    f"{of('backstay_breaker_state', {'state': state})} * {value}"
    for value, state in enumerate(("closed", "disabled", "ramp", "half_open", "open", "forced_open"))
)
_WORDS: Final = (
    ("closed", GREEN),
    ("forced closed", BLUE),
    ("coming back", YELLOW),
    ("probing", ORANGE),
    ("open", RED),
    ("forced open", "dark-red"),
)

CIRCUITS: Final = Row(
    "Circuits",
    (
        States(
            "State of each circuit",
            "The worst of all chosen pods. open: nothing is sent. probing: a few calls find out whether the vendor "
            "is back. coming back: a growing share of the calls is sent. Choose a pod to see one sidecar alone.",
            f"max by (breaker) ({_CODED})",
            "{{breaker}}",
            _WORDS,
        ),
        Lines(
            "Pods with an open circuit",
            "How many sidecars have stopped calling. All of them: the vendor is down. One: look at that pod's network.",
            {"{{breaker}}": now("backstay_breaker_state", {"state": "=~open|forced_open"}, by="breaker")},
            stacked=True,
        ),
        Bars(
            "Changes of state",
            "Each change, and why. A circuit that opens and closes all the time has a window that is too short, or "
            "a vendor that fails now and then: look at its tries.",
            {
                "{{breaker}} {{from}} > {{to}}: {{reason}}": events(
                    "backstay_breaker_transitions_total", by="breaker, from, to, reason"
                )
            },
        ),
        Lines(
            "Refused at once",
            "Calls per second that an open circuit refused.",
            {"{{api}}": rate(_CALLS, {"reason": "=~circuit_.*"}, by="api")},
            "reqps",
            stacked=True,
        ),
    ),
    closed=False,
)
"""When a vendor was taken for dead, and when it was back."""

_WHOLE: Final = "backstay_request_duration_seconds"
_VENDORS: Final = "backstay_upstream_duration_seconds"
_OURS: Final = "backstay_overhead_seconds"
_FIRST_BYTE: Final = "backstay_time_to_first_byte_seconds"
_ANSWERED: Final = rate(f"{_FIRST_BYTE}_count")
_OF_VENDORS: Final = rate(f"{_VENDORS}_sum")
_OF_OURS: Final = rate(f"{_OURS}_sum")
_WAITED: Final = f"clamp_min({rate(f'{_FIRST_BYTE}_sum')} - {_OF_VENDORS} - {_OF_OURS}, 0)"
_SHARES: Final = (0.5, 0.95, 0.99)

TIME: Final = Row(
    "Where the time went",
    (
        Lines(
            "The whole call",
            "From the request to the end of the answer, with retries, waits and the body of a stream.",
            {f"p{share * 100:g}": quantile(share, _WHOLE) for share in _SHARES},
            "s",
        ),
        Lines(
            "Of it, the vendor's",
            "Time spent waiting for vendors, over all tries of a call.",
            {f"p{share * 100:g}": quantile(share, _VENDORS) for share in _SHARES},
            "s",
        ),
        Lines(
            "Of it, ours",
            "What Backstay itself added: neither the vendor's time, nor a wait on purpose. Above 25 ms the sidecar "
            "lacks processor time.",
            {f"p{share * 100:g}": quantile(share, _OURS) for share in _SHARES},
            "s",
            _SECONDS,
        ),
        Lines(
            "An average call up to its first byte",
            "How its time is divided: the vendor's, the waits on purpose (pauses between tries, the rate limit, "
            "another call's answer), and Backstay's own.",
            {
                "the vendor": f"{_OF_VENDORS} / {_ANSWERED}",
                "waited on purpose": f"{_WAITED} / {_ANSWERED}",
                "Backstay": f"{_OF_OURS} / {_ANSWERED}",
            },
            "s",
            stacked=True,
        ),
        Lines(
            "p95 of the whole call, by API",
            "Which API is slow.",
            {"{{api}}": quantile(0.95, _WHOLE, by="api")},
            "s",
        ),
        Lines(
            "p95 of the whole call, by outcome",
            "Refused, hit, stale and replayed must be fast; what is forwarded is as fast as its vendor.",
            {"{{outcome}}": quantile(0.95, _WHOLE, by="outcome")},
            "s",
        ),
        Heat(
            "How long calls took",
            "Each column is a moment, each cell a duration; the brighter, the more calls.",
            events(f"{_WHOLE}_bucket", by="le"),
            width=12,
        ),
        Heat(
            "How long vendors took",
            "The same for the vendors' share. Two bands are a vendor that is well and one that times out.",
            events(f"{_VENDORS}_bucket", by="le"),
            width=12,
        ),
    ),
)
"""Whose the seconds were."""

ROWS: Final = (SAVED, SEEN, CIRCUITS, TIME)
"""Those that are open are what an operator looks at first."""
