"""The parts of the bench that can be wrong without anybody noticing: what it reads, configures and reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

import bench.report
from bench.agent import Call, Plan, Tally, fresh
from bench.caching import CASES, distinct
from bench.capture import WAYS as CAUGHT
from bench.capture import Measured, catchers
from bench.faults import Calls, outage_figures
from bench.ledger import WAYS, durable_write, with_ledger
from bench.load import parse
from bench.peers import Peer, Policies, all_peers, configure
from bench.report import ANSWERS, KEPT, SECTIONS, cell, markdown
from bench.report import write as write_report
from bench.results import Results, Row, kept, read, write
from bench.upstream import SIZES, Upstream, render, small_body
from proxy.config.load import load
from proxy.core.cache import CacheSettings
from proxy.core.idempotency import IdempotencySettings

WRK = """Running 1s test @ http://127.0.0.1:1/small
  1 threads and 32 connections
  Latency Distribution
     50%  812.00us
     75%    0.95ms
     90%    1.10ms
     99%    1.35ms
  36939 requests in 1.00s, 12.33MB read
Requests/sec:  36902.11
Transfer/sec:     12.31MB
"""


def test_reads_the_report_of_wrk() -> None:
    """Rates are per second and latencies microseconds, whatever unit wrk chose."""
    load = parse(WRK)
    assert (load.rate, load.requests, load.p50, load.p99) == (36902.11, 36939, 812.0, 1350.0)


@pytest.mark.parametrize("trouble", ["  Non-2xx or 3xx responses: 3", "  Socket errors: connect 0, read 1, write 0"])
def test_a_run_in_which_calls_failed_gives_no_figure(trouble: str) -> None:
    """An error is answered faster than a call, and would count as speed."""
    with pytest.raises(RuntimeError, match="calls failed"):
        parse(WRK + trouble + "\n")


PLAIN = [peer for peer in all_peers() if peer.templates]
CACHES = [peer.as_cache() for peer in all_peers() if peer.cache_templates]
LEDGERS = [with_ledger(peer) for peer in all_peers()[:2]]
CATCHERS = catchers(all_peers())


@pytest.mark.parametrize("peer", [*PLAIN, *CACHES, *LEDGERS, *CATCHERS], ids=lambda peer: peer.name)
def test_every_template_is_filled(tmp_path: Path, peer: Peer) -> None:
    """No @NAME@ and no {name} is left in a configuration or a command."""
    _, command = configure(peer, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), Policies())
    assert not any("{" in word for word in command)
    for template in peer.templates:
        assert not re.search(r"@[A-Z_]+@", (tmp_path / template).read_text())


def test_backstay_is_measured_with_every_policy_on(tmp_path: Path) -> None:
    """What the table claims to compare is what the configuration says."""
    backstay = all_peers()[0]
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    configure(backstay, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), Policies(attempts=4, budget_percent=50))
    config = load([tmp_path / "backstay.yaml"], {})
    for api in config.apis:
        assert api.policies.breaker is not None
        assert api.policies.rate_limit is not None
        assert api.policies.retry is not None
        assert (api.policies.retry.attempts, api.policies.retry.budget) == (4, 0.5)


def test_a_cache_is_measured_with_the_policies_of_the_other_rows(tmp_path: Path) -> None:
    """Both ways to the upstream have them all; the second has a cache too, as it is by default, as large as asked."""
    policies = Policies(cache=256)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for peer in (all_peers()[0], all_peers()[0].as_cache()):
        configure(peer, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), policies)
    usual = load([tmp_path / "backstay.yaml"], {}).apis[0].policies
    config = load([tmp_path / "backstay-cache.yaml"], {})
    plain, cached = config.apis
    assert plain.policies == usual
    assert cached.policies == replace(usual, cache=CacheSettings())
    assert (config.limits.memory_cache, config.stores_shared) == (256 << 20, None)


def test_answers_are_shared_where_there_is_a_redis_server(tmp_path: Path) -> None:
    """The rows of the shared store measure it, and not memory."""
    configure(CACHES[0], tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), Policies(redis_port=3))
    config = load([tmp_path / "backstay-cache.yaml"], {})
    assert config.stores_shared == "redis://127.0.0.1:3/0"
    assert config.apis[1].policies.cache == CacheSettings(store="shared")


def test_a_ledger_is_measured_with_the_policies_of_the_other_rows(tmp_path: Path) -> None:
    """The four ways differ in nothing but where the record of a call is kept, and each is a path of one process."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    policies = Policies(redis_port=3, ledger=tmp_path / "disk")
    for peer in (all_peers()[1], LEDGERS[1]):
        configure(peer, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), policies)
    usual = load([tmp_path / "backstay.yaml"], {}).apis[0].policies
    config = load([tmp_path / "backstay-ledger.yaml"], {})
    kept = {"plain": None, "memory": "memory", "sqlite": "ledger", "redis": "shared"}
    assert {api.name: api.mount for api in config.apis} == {name: path or "/" for name, path in WAYS.items()}
    for api in config.apis:
        store: Any = kept[api.name]
        ledger = IdempotencySettings(store=store, retain=60.0) if store else None
        assert api.policies == replace(usual, idempotency=ledger)
    assert config.stores_shared == "redis://127.0.0.1:3/0"
    assert config.stores_ledger == str(tmp_path / "disk" / "Backstay-interpreted.db")


def test_what_is_caught_is_measured_with_the_policies_of_the_other_rows(tmp_path: Path) -> None:
    """TLS is intercepted for a vendor with all of them; the other is no api's, so that a tunnel is only a tunnel."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for peer in (all_peers()[0], CATCHERS[0]):
        configure(peer, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), Policies())
    usual = load([tmp_path / "backstay.yaml"], {}).apis[0].policies
    config = load([tmp_path / "backstay-capture.yaml"], {})
    assert [(api.host, api.port, api.policies) for api in config.apis] == [("localhost", 2, usual)]
    assert config.tls_intercept is not None
    assert CAUGHT["Backstay"].trust == f"{config.tls_intercept.trust_dir.relative_to(tmp_path)}/ca.crt"


def test_who_catches_is_a_peer() -> None:
    """One under another name would be left out without a word; so would every measurement of what only it can do."""
    assert sorted(CAUGHT) == sorted(peer.name for peer in CATCHERS)
    assert [peer.name for peer in CATCHERS if CAUGHT[peer.name].trust is None] == ["Envoy"]


def test_processor_time_is_told_for_each_call_and_as_a_part_of_the_core() -> None:
    """The second figure says whether the proxy or the load generator was the slower one."""
    calls = Measured(rate=1000.0, requests=3000, p50=1.0, p99=2.0, used=1.5)
    assert calls.figures == {"cpu": 500.0, "busy": 50.0}


class Wire(asyncio.Transport):
    """What an agent of the bench wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.sent.append(data)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def test_the_agent_asks_again_when_an_answer_is_whole() -> None:
    """Whether it comes in one piece, as most do, or in several; each is counted once."""
    tally, wire = Tally(None), Wire()
    call = Call(b"GET", tally, calls=3)
    call.connection_made(wire)
    call.ask()
    for piece in (ANSWER[:20], ANSWER[20:], ANSWER, ANSWER[:-1], ANSWER[-1:]):
        call.data_received(piece)
    await call.done
    assert (len(tally.seconds), wire.sent) == (3, [b"GET"] * 3)


@pytest.mark.parametrize("answer", [ANSWER.replace(b"200 OK", b"503 No"), b"HTTP/1.1 200 OK\r\n\r\n{}", None])
async def test_an_agent_with_a_call_that_failed_gives_no_figure(answer: bytes | None) -> None:
    """An error, an answer whose end cannot be told, and none at all are answered faster than a call."""
    call = Call(b"GET", Tally(None))
    call.connection_made(Wire())
    call.ask()
    call.data_received(answer) if answer else call.connection_lost(None)
    with pytest.raises(ConnectionError):
        await call.done


@pytest.mark.parametrize(("status", "error"), [(b"200 Connection Established", None), (b"403 Forbidden", "no tunnel")])
async def test_the_agent_calls_by_a_tunnel(status: bytes, error: str | None) -> None:
    """It asks for the vendor, and nothing that a proxy says instead of letting it through counts as an answer."""
    heads: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # the agent has left
            for answer in (b"HTTP/1.1 " + status + b"\r\n\r\n", ANSWER):
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        plan = Plan(server.sockets[0].getsockname()[1], "vendor:80", through=True, tls=None)
        if error is None:
            assert (await fresh(plan, 2, 0.01))["requests"] >= 2
            assert heads[-1].startswith(b"GET /small HTTP/1.1\r\nHost: vendor:80\r\n")
        else:
            with pytest.raises(ConnectionError, match=error):
                await fresh(plan, 1, 0.01)
    assert heads[0] == b"CONNECT vendor:80 HTTP/1.1\r\nHost: vendor:80\r\n\r\n"


def test_no_two_builds_share_a_file(tmp_path: Path) -> None:
    """A ledger in a file belongs to one process; both builds are up at once."""
    for peer in LEDGERS:
        folder = tmp_path / peer.name
        folder.mkdir()
        configure(peer, folder, Upstream(1, 2, tmp_path / "ca.pem"), Policies(ledger=tmp_path))
    one, other = ((tmp_path / peer.name / "backstay-ledger.yaml").read_text() for peer in LEDGERS)
    files = [re.findall(r"sqlite:([^\s\"]+)", text) for text in (one, other)]
    assert files == [[str(tmp_path / "Backstay.db")], [str(tmp_path / "Backstay-interpreted.db")]]


def test_every_way_of_a_ledger_has_a_name_in_the_report() -> None:
    """One without would be measured and not shown."""
    assert list(KEPT) == list(WAYS)


def test_the_disk_is_measured_by_what_it_makes_durable(tmp_path: Path) -> None:
    """A figure beside which those of durable stores can be read; nothing is as fast as none."""
    assert durable_write(tmp_path) > 0
    assert (tmp_path / "write").stat().st_size % 4096 == 0


@pytest.mark.parametrize("peer", CACHES, ids=lambda peer: peer.name)
def test_the_cache_has_a_way_of_its_own(tmp_path: Path, peer: Peer) -> None:
    """Else the rows would compare it with itself."""
    target, _ = configure(peer, tmp_path, Upstream(1, 2, tmp_path / "ca.pem"), Policies())
    assert target.url("/x") != target.second_url("/x")


def test_every_case_of_a_cache_has_a_name_in_the_report() -> None:
    """One without would be measured and not shown."""
    assert list(ANSWERS) == [case.name for case in CASES]


def test_distinct_answers_add_up_to_what_is_asked_for() -> None:
    """No path comes twice, each run has the same ones, and all the sizes are among them."""
    paths = list(distinct(64 << 20))
    sizes = [int(path.split("/")[3]) for path in paths]
    assert 0 <= sum(sizes) - (64 << 20) < max(SIZES)
    assert len(set(paths)) == len(paths)
    assert paths == list(distinct(64 << 20))
    assert set(sizes) == set(SIZES)
    assert (min(SIZES), max(SIZES)) == (200, 100 * 1024)


def test_the_upstream_says_what_may_be_kept() -> None:
    """A cache that may keep nothing, or everything, would make the rows meaningless."""
    lines = [line.strip() for line in render("upstream.conf", {}).splitlines()]
    for way, control in (("/fresh/", "max-age=3600"), ("/no-store/", "no-store")):
        assert all(f"Cache-Control {control};" in line for line in lines if way in line)


def test_the_small_answer_has_180_bytes() -> None:
    """The figure that the table names."""
    assert len(small_body()) == 180


def test_an_outage_is_judged_by_what_the_agent_saw() -> None:
    """The worst call is one made during the outage; `again` runs from its end to the end of the first good call."""
    calls = Calls([(0.0, 0.1, 200), (10.0, 0.7, 503), (14.0, 0.2, 503), (72.0, 0.1, 503), (76.0, 0.5, 200)])
    figures = outage_figures(calls, began=8.0, ended=68.0, kind="503", reached=7)
    assert figures == {"503_attempts": 7.0, "503_worst": 0.7, "503_again": 8.5}


def test_an_agent_that_is_never_served_again_is_reported_so() -> None:
    """A missing figure would read as one that was not measured."""
    figures = outage_figures(Calls([(10.0, 0.7, 503)]), began=8.0, ended=68.0, kind="refused", reached=0)
    assert cell(figures["refused_again"], 1) == "never"


def test_latency_is_reported_less_the_direct_way() -> None:
    """What a proxy adds is what it takes more than no proxy."""
    results = Results()
    for value in (120.0, 100.0, 110.0):
        results.add("Envoy", {"p50": value})
    results.add("direct", {"p50": 15.0})
    row = Row("p50", "p50", less_direct=True)
    assert results.median(row, "Envoy") == 95.0
    assert results.median(row, "direct") is None


def test_what_a_cache_gains_is_one_row_by_another() -> None:
    """Within each round, since slow rounds are slow for both; a target that lacks one of the two has no figure."""
    results = Results(versions={"A": "1", "B": "2"})
    for hit, forward in ((90.0, 60.0), (20.0, 10.0), (8.0, 10.0)):
        results.add("A", {"hit_small": hit, "forward_small": forward})
    results.add("B", {"forward_small": 60.0})
    page = markdown([results])
    assert "| | A |" in page
    assert "| 180-byte answer: requests per second | 1.50 |" in page


def test_the_report_names_the_machine_by_cores_and_processor_alone() -> None:
    """No host name and no path of whoever ran it goes into the repository."""
    results = Results(versions={"Envoy": "1.40.0"}, failures=["get Traefik: calls failed"])
    results.add("Envoy", {"get": 30000.0})
    page = markdown([results])
    assert "| GET, 180-byte answer | 30,000 |" in page
    assert "- get Traefik: calls failed" in page
    assert str(Path.cwd()) not in page


def test_a_proxy_is_compared_with_another_within_each_round() -> None:
    """Slow rounds are slow for both; and one that was not measured is compared with nobody."""
    results = Results()
    for ours, theirs in ((90.0, 3.0), (40.0, 2.0), (25.0, 1.0)):
        results.add("Backstay", {"captured": ours})
        results.add("mitmproxy", {"captured": theirs})
    row = Row("times", "times mitmproxy", ratio=("captured", "captured"), beside="mitmproxy")
    assert [results.median(row, name) for name in ("Backstay", "mitmproxy", "Envoy")] == [25.0, 1.0, None]
    assert results.median(replace(row, beside="Envoy"), "Backstay") is None


def run_of(date: str, **figures: float) -> Results:
    """What Backstay did on one day."""
    results = Results(versions={"Backstay": "0.1.0"}, date=date, machine="2 cores", settings="Medians.")
    results.add("Backstay", figures)
    return results


def test_a_run_of_some_groups_leaves_the_figures_of_the_others(tmp_path: Path) -> None:
    """They keep their date, and are never in one table with later ones, since only figures of one run compare."""
    write([run_of("2026-01-01", get=1.0, post=2.0)], tmp_path)
    write_report(run_of("2026-02-02", post=3.0), {"post"}, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "1. 2026-01-01; 2 cores. Medians.\n   Backstay 0.1.0.\n2. 2026-02-02;" in page
    one, other = page.partition("## Throughput")[2].partition("## ")[0].split("Run 2:")
    assert "Run 1:" in one
    assert "| GET, 180-byte answer | 1 |" in one
    assert "| POST 1 KiB, 4 KiB answer | 3 |" in other
    assert "POST" not in one


def test_a_run_of_everything_leaves_nothing_of_earlier_ones() -> None:
    """Nor does one that failed stay among those not measured when its group was measured again."""
    earlier = replace(run_of("2026-01-01", get=1.0, chain=2.0), failures=["get Envoy: failed", "outage: failed"])
    assert kept([earlier], run_of("2026-02-02", get=3.0, chain=4.0), {"get", "chain"})[0].date == "2026-02-02"
    [first, _] = kept([earlier], run_of("2026-02-02", get=3.0), {"get"})
    assert (first.samples, first.failures) == ({"chain": {"Backstay": [2.0]}}, ["outage: failed"])


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Also what never happened, for which JSON has no number."""
    runs = [run_of("2026-01-01", get=1.5, refused_again=math.inf)]
    write(runs, tmp_path)
    assert json.loads((tmp_path / "RESULTS.json").read_text())["runs"][0]["samples"]["refused_again"] == {
        "Backstay": [None]
    }
    assert read(tmp_path) == runs
    assert read(tmp_path / "nowhere") == []


def test_the_page_is_what_its_samples_say() -> None:
    """Nobody has edited one without the other."""
    folder = Path(bench.report.__file__).parent
    assert (folder / "RESULTS.md").read_text() == markdown(read(folder))


def test_no_two_rows_share_a_key() -> None:
    """A row with another's key would print the other's figures."""
    keys = [row.key for _, _, rows in SECTIONS for row in rows]
    assert len(keys) == len(set(keys))
