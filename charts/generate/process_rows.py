"""Rows about the wire and the process: streams, what is caught, and Backstay's own health. Used by dashboard.py."""

from __future__ import annotations

from typing import Final

from charts.generate.panels import BLUE, GREEN, ORANGE, RED, YELLOW, Bars, Lines, Number, Row, States
from charts.generate.promql import events, most, now, of, of_process, quantile, rate, total

DAY: Final = 86400
_CALLS: Final = "backstay_requests_total"
_FIRST: Final = "backstay_time_to_first_byte_seconds"


_CUT: Final = {"reason": "=~broken|stalled|abandoned"}

STREAMS: Final = Row(
    "Streams and connections",
    (
        Lines(
            "Answers that ended early",
            "broken: the vendor cut it. stalled: nothing came for timeout.idle. abandoned: the agent went away.",
            {"{{api}}: {{reason}}": rate(_CALLS, _CUT, by="api, reason")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Time to the first byte",
            "From the request to the headers of its answer: what a model's user feels.",
            {f"p{share * 100:g}": quantile(share, _FIRST) for share in (0.5, 0.95, 0.99)},
            "s",
        ),
        Lines(
            "Time to the first byte, p95 by API",
            "Which API lets agents wait for its first word.",
            {"{{api}}": quantile(0.95, _FIRST, by="api")},
            "s",
        ),
        Lines(
            "Streams and other calls under way",
            "Calls that have begun and not ended.",
            {"{{api}}": now("backstay_inflight_requests", by="api")},
            width=6,
            stacked=True,
        ),
        Lines(
            "Connections of agents",
            "Open ones, by pod: the twenty with the most. limits.connections is the bound of each.",
            {"{{pod}}": most(now("backstay_agent_connections", by="pod"))},
            width=6,
            stacked=True,
        ),
        Lines(
            "Connections to vendors",
            "busy: a call is on it. idle: kept for the next. waiting: calls that wait for one; raise "
            "connections.max if they last.",
            {"{{api}}: {{state}}": now("backstay_upstream_connections", by="api, state")},
            width=6,
            stacked=True,
        ),
        Number(
            "Cut at the end of a drain",
            "Calls that were still running at drain.timeout when a pod ended. The process ends in the same moment, so "
            "that a scrape seldom sees them: the last line of its log has the number.",
            total("backstay_drain_cut_total"),
            steps=((None, GREEN), (1, RED)),
            width=6,
        ),
    ),
)
"""Answers that take their time."""

CATCHING: Final = Row(
    "Capture and egress",
    (
        Lines(
            "Connections that were caught",
            "By CONNECT or by redirection, and what became of each: TLS that is ended here, HTTP, or passed untouched.",
            {"{{mode}}: {{handling}}": rate("backstay_captured_connections_total", by="mode, handling")},
            "ops",
            stacked=True,
        ),
        Lines(
            "Egress, by rule",
            "Decisions on where connections may go. allow by api: a host that an API names. deny by metadata or "
            "private_networks may be an agent that was talked into something.",
            {"{{decision}}: {{rule}}": rate("backstay_egress_decisions_total", by="decision, rule")},
            "ops",
            stacked=True,
        ),
        Bars(
            "Clients that do not trust us",
            "Handshakes that an agent broke off when it saw our authority: it pins, or its runtime reads other "
            "trust variables. `backstay doctor` says which; egress.pass_through exempts a host.",
            {"{{api}}": events("backstay_client_trust_failures_total", by="api")},
        ),
    ),
)
"""How calls came, and what was let out."""

_CORES: Final = of_process("process_cpu_seconds_total", "rate({}[$__rate_interval])")
_EXPIRY: Final = "backstay_certificate_expiry_seconds"

HEALTH: Final = Row(
    "Backstay itself",
    (
        Number(
            "Sidecars",
            "Processes that are scraped.",
            f"count({of('backstay_config_info')})",
            live=True,
        ),
        Number(
            "Reload failed",
            "Sidecars whose configuration on disk is not the one in force: the last reload was refused. The log "
            "names file, line and column.",
            f"sum(1 - {of('backstay_config_last_reload_successful')})",
            steps=((None, GREEN), (1, RED)),
            live=True,
        ),
        Number(
            "Configurations in force",
            "How many different ones. More than expected: some pods have not been rolled out, or not reloaded.",
            f"count(count by (hash) ({of('backstay_config_info')}))",
            live=True,
        ),
        Number(
            "Versions",
            "How many different builds of Backstay. Two in an upgrade, one else.",
            f"count(count by (version) ({of('backstay_build_info')}))",
            steps=((None, GREEN), (2, YELLOW)),
            live=True,
        ),
        Number(
            "Dependencies that are away",
            "Stores that do not answer, over the chosen pods.",
            f"sum(1 - {of('backstay_dependency_up')})",
            steps=((None, GREEN), (1, RED)),
            live=True,
        ),
        Number(
            "First certificate expires in",
            "The authority that signs for hosts. It is made anew in time where Backstay made it itself.",
            now(_EXPIRY, how="min"),
            "s",
            ((None, RED), (7 * DAY, ORANGE), (30 * DAY, GREEN)),
            none="no TLS is ended",
            live=True,
        ),
        Lines(
            "Memory",
            "Resident memory by pod: the twenty with the most. It grows with open connections, the cache and the "
            "records that are kept.",
            {"{{pod}}": most(f"sum by (pod) {of_process('process_resident_memory_bytes')}")},
            "bytes",
        ),
        Lines(
            "Processor",
            "Cores by pod: the twenty with the most. One core is the most that a sidecar uses.",
            {"{{pod}}": most(f"sum by (pod) {_CORES}")},
            "short",
            ((None, GREEN), (0.8, RED)),
        ),
        Lines(
            "Open files",
            "Share of what the system allows, by pod: the twenty with the most. Each connection is one.",
            {
                "{{pod}}": most(f"max by (pod) ({of_process('process_open_fds')} / {of_process('process_max_fds')})"),
            },
            "percentunit",
            ((None, GREEN), (0.8, RED)),
            top=1,
        ),
        States(
            "Dependencies",
            "Stores outside the process. While one is away, on_store_error decides what becomes of a call.",
            f"max by (name) (1 - {of('backstay_dependency_up')})",
            "{{name}}",
            [("up", GREEN), ("away", RED)],
            width=12,
        ),
        States(
            "Configuration on disk",
            "Whether it is the one in force.",
            f"max by (pod) (1 - {of('backstay_config_last_reload_successful')})",
            "{{pod}}",
            [("in force", GREEN), ("refused", RED)],
            width=12,
        ),
        Bars(
            "Reloads",
            "ok: a new configuration came into force. failed: it was refused, and the old one goes on.",
            {"{{result}}": events("backstay_config_reloads_total", by="result")},
            width=6,
        ),
        Bars(
            "Restarts",
            "Starts of the process that were seen between two scrapes. In a pod that stays, each is a crash or a "
            "memory limit.",
            {"{{pod}}": f"sum by (pod) {of_process('process_start_time_seconds', 'changes({}[$__rate_interval])')}"},
            width=6,
        ),
        Bars(
            "Forgotten to make room",
            "Entries that a bounded table dropped. Of cache_entries that is usual; of others, raise the limit.",
            {"{{what}}": events("backstay_evictions_total", by="what")},
            width=6,
        ),
        Lines(
            "Certificates expire in",
            "The least of the chosen pods.",
            {"{{certificate}}": now(_EXPIRY, by="certificate", how="min")},
            "s",
            ((None, RED), (7 * DAY, ORANGE), (30 * DAY, BLUE)),
            width=6,
        ),
    ),
)
"""The sidecars themselves."""

ROWS: Final = (STREAMS, CATCHING, HEALTH)
"""What one reads when the panels above do not explain it."""
