"""Tests of control.py: what an operator sees and may do."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy import __version__
from proxy.admin.control import Control, Forced, StoreDown
from proxy.control import Controls
from proxy.core.asked import asked
from proxy.core.breaker import State
from proxy.core.idempotency import Claim, Concluded, Conclusion, Subject
from proxy.core.stored import Stored
from proxy.flight import Flight, Read
from proxy.model import Exchange, Headers, Request
from proxy.stores.base import Listed, StoreError, ident_of
from proxy.stores.shelf import Found
from tests.app.conftest import Starts, Writes

APIS = """
  vendor:
    url: http://127.0.0.1:9
    mount: /
    rate_limit: {rate: 10/s, key: credential}
    cache: {mode: ttl, ttl: 60s}
    routes:
      - name: own
        match: {paths: [/own]}
        breaker: {consecutive: 1}
        cache: {mode: ttl, ttl: 10s}
"""


@pytest.fixture
async def controls(starts: Starts, writes: Writes) -> Controls:
    app = await starts(writes(APIS, more="admin_token: hush-hush"))
    return Controls(app)


async def test_it_is_what_the_admin_api_asks_for(controls: Controls) -> None:
    """The type checker agrees, and everything that is shown is JSON without secrets."""
    control: Control = controls
    shown: list[object] = [control.status(), control.breakers(), control.buckets(), control.pools(), control.stores()]
    shown += [control.effective_config(), await control.cached(api=None, route=None, limit=1), control.ledgers()]
    shown += [await control.unsettled(api=None, store=None, limit=1), await control.record("0" * 32, store=None)]
    assert "hush" not in json.dumps(shown)


@pytest.mark.parametrize(
    ("url", "shown"), [("http://127.0.0.1:9/hook/${file:%s}", "/hook/****/x"), ("${file:%s}", "/***/x")]
)
async def test_a_secret_in_the_path_of_a_url_is_not_shown(
    starts: Starts, writes: Writes, tmp_path: Path, url: str, shown: str
) -> None:
    """Some vendors have their key there: neither a stored answer nor a record in doubt tells it."""
    (tmp_path / "key").write_text("hush" if "hook" in url else "http://127.0.0.1:9/hush")
    policies = "idempotency: {}, cache: {}, routes: [{name: own, match: {paths: [/own]}}]"
    app = await starts(writes(f"  vendor: {{url: '{url % (tmp_path / 'key')}', mount: /, {policies}}}"))
    controls, base = Controls(app), app.config.apis[0].base_path
    answer = stored(controls)
    answer.target = f"{base}/x".encode()
    await app.survivors.shelves.stores["memory"].put("a", answer, 600.0)
    await lost(controls, "a" * 32, target=f"{base}/x")
    found = [*await controls.cached(api=None, route=None, limit=1), await controls.look(ident_of("a"))]
    found += [*await controls.unsettled(api=None, store=None, limit=1), await controls.record("a" * 32, store=None)]
    assert [each and each["target"] for each in found] == [shown] * 4


async def test_the_status_says_what_runs(controls: Controls) -> None:
    """Version, readiness, apis, connections."""
    status = controls.status()
    assert (status["version"], status["ready"], status["apis"]) == (__version__, True, ["vendor"])
    assert (status["connections"], status["busy"]) == (0, 0)
    assert status["uptime_seconds"] >= 0.0
    assert len(status["config"]) == 12


async def test_state_is_listed_by_name(controls: Controls) -> None:
    """Circuits, limits, pools."""
    assert [(each["name"], each["state"]) for each in controls.breakers()] == [
        ("vendor", "closed"),
        ("vendor/own", "closed"),
    ]
    assert [(each["name"], each["limit"]) for each in controls.buckets()] == [("vendor", 10)]
    assert controls.pools() == [
        {"name": "vendor", "host": "127.0.0.1", "port": 9, "max": 100, "idle": 0, "busy": 0, "waiting": 0}
    ]


@pytest.mark.parametrize(("forced", "state"), [("open", State.FORCED_OPEN), ("closed", State.DISABLED)])
async def test_a_circuit_may_be_forced_and_released(controls: Controls, forced: Forced, state: State) -> None:
    """Until the operator lets go of it; others are not touched."""
    assert controls.force_breaker("vendor", forced)
    breakers = controls._app.survivors.breakers
    assert (breakers["vendor"].state, breakers["vendor/own"].state) == (state, State.CLOSED)
    assert controls.force_breaker("vendor", "auto")
    assert breakers["vendor"].state in {State.HALF_OPEN, State.CLOSED}


async def test_a_circuit_that_does_not_exist(controls: Controls) -> None:
    """False, for a 404."""
    assert not controls.force_breaker("nobody", "open")


async def test_the_configuration_is_shown_masked(controls: Controls) -> None:
    """With every default filled in."""
    shown = controls.effective_config()
    assert shown["apis"]["vendor"]["breaker"]["min_calls"] == 10


async def test_a_reload_says_what_is_wrong(controls: Controls, writes: Writes) -> None:
    """Nothing, or each problem as a line."""
    assert await controls.reload() == []
    writes("  vendor: {url: nonsense}\n")
    problems = await controls.reload()
    assert len(problems) == 1
    assert "apis.vendor.url" in problems[0]


async def test_the_log_level_may_be_changed(controls: Controls, logged: object) -> None:
    """At once; an unknown one is refused."""
    controls.set_log_level("error")
    assert logging.getLogger("backstay").level == logging.ERROR
    with pytest.raises(ValueError, match="not a log level"):
        controls.set_log_level("loud")


class FakeStore:
    """A store of answers that may be down; how full it is, it does not know."""

    name = "redis"

    def __init__(self) -> None:
        self.answers: dict[str, Stored] = {}
        self.up = True

    def fitting(self, what: str, api: str | None, route: str | None, ident: str | None = None) -> dict[str, Stored]:
        if not self.up:
            raise StoreError(self.name, what, "it is down")
        return {
            key: stored
            for key, stored in self.answers.items()
            if api in {None, stored.api} and route in {None, stored.route} and ident in {None, ident_of(key)}
        }

    async def entries(self, *, api: str | None, route: str | None, limit: int) -> list[Listed]:
        found = [Listed(ident_of(key), stored) for key, stored in self.fitting("list", api, route).items()]
        return found[:limit]

    async def look(self, ident: str) -> Listed | None:
        found = self.fitting("look", None, None, ident).values()
        return next((Listed(ident, stored) for stored in found), None)

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        gone = self.fitting("purge", api, route, ident)
        for key in gone:
            del self.answers[key]
        return len(gone)

    async def close(self) -> None:
        pass


def stored(controls: Controls, route: str = "default", api: str = "vendor", age: float = 0.0) -> Stored:
    """An answer that came ``age`` seconds ago."""
    came = controls._app.clock.wall() - age
    headers = Headers.of((b"Set-Cookie", b"sid=hush"))
    return Stored(
        status=200, reason=b"OK", headers=headers, body=b"", requested_at=came, received_at=came, api=api, route=route
    )


def flight(controls: Controls, key: str, route: str) -> Flight:
    """A read that is under way."""
    exchange = Exchange(Request(b"GET", b"/", Headers()), "vendor", route, started=0.0)
    return Flight(controls._app.clock, Read(exchange, asked(Headers()), key, "", Found(None, None)), exchange)


@pytest.fixture
async def shared(controls: Controls) -> FakeStore:
    """A shared store with an answer, beside the memory with two."""
    shelves: Any = controls._app.survivors.shelves
    shelves._redis = fake = FakeStore()
    fake.answers["c"] = stored(controls, "default", "vendor", 30.0)
    memory = shelves.stores["memory"]
    await memory.put("a", stored(controls, "default", "vendor", 20.0), 600.0)
    await memory.put("b", stored(controls, "own", "vendor", 40.0), 600.0)
    return fake


async def keys(controls: Controls, **asked: Any) -> list[str]:
    """Which answers are listed, by their keys."""
    names = {ident_of(key): key for key in "abc"}
    return [names[each["id"]] for each in await controls.cached(**({"api": None, "route": None, "limit": 10} | asked))]


class TestStores:
    """What keeps answers."""

    async def test_a_store_tells_what_it_knows(self, controls: Controls, shared: FakeStore) -> None:
        """Memory all; what is elsewhere only whether it is up."""
        memory, other = controls.stores()
        assert (memory["name"], memory["state"], memory["entries"], memory["limit"]) == ("memory", "up", 2, 64 << 20)
        assert 2000 < memory["bytes"] < 10_000
        assert other == {"name": "shared", "state": "up", "entries": None, "bytes": None, "limit": None}

    async def test_the_status_says_which_are_down(self, controls: Controls, shared: FakeStore) -> None:
        """By name."""
        shared.up = False
        assert controls.status()["stores"] == {"memory": "up", "shared": "down"}

    async def test_without_a_cache_there_is_none(self, starts: Starts, writes: Writes) -> None:
        """Nothing to show, to list, or to purge."""
        controls = Controls(await starts(writes("  vendor: {url: http://127.0.0.1:9, mount: /}")))
        assert (controls.stores(), controls.status()["stores"], await keys(controls)) == ([], {}, [])
        assert (await controls.look("0" * 32), await controls.purge()) == (None, 0)


class TestCached:
    """The answers in them."""

    async def test_the_newest_comes_first(self, controls: Controls, shared: FakeStore) -> None:
        """Whatever store it is in."""
        assert await keys(controls) == ["a", "c", "b"]
        assert await keys(controls, limit=2) == ["a", "c"]

    async def test_some(self, controls: Controls, shared: FakeStore) -> None:
        """By api and route."""
        assert await keys(controls, route="own") == ["b"]
        assert await keys(controls, api="vendor", route="default") == ["a", "c"]
        assert await keys(controls, api="nobody") == []

    async def test_each_is_judged_by_the_rules_of_its_route(self, controls: Controls, shared: FakeStore) -> None:
        """Though it was stored under others, or by another pod."""
        a, c, b = await controls.cached(api=None, route=None, limit=10)
        assert [each["store"] for each in (a, c, b)] == ["memory", "shared", "memory"]
        assert [round(each["fresh_for"]) for each in (a, c, b)] == [40, 30, -30]

    async def test_what_is_configured_no_more_is_still_listed(self, controls: Controls, shared: FakeStore) -> None:
        """It takes room; a route without a name of its own goes by the rules of its api."""
        shared.answers["a"] = stored(controls, "gone")
        shared.answers["b"] = stored(controls, "default", "gone")
        found = await controls.cached(api=None, route=None, limit=10)
        judged = {(each["api"], each["route"]): each["fresh_for"] is not None for each in found}
        assert judged == {
            ("vendor", "default"): True,
            ("vendor", "own"): True,
            ("vendor", "gone"): True,
            ("gone", "default"): False,
        }

    async def test_one_with_its_fields(self, controls: Controls, shared: FakeStore) -> None:
        """Wherever it is; secrets are masked."""
        for key, store in (("a", "memory"), ("c", "shared")):
            found = await controls.look(ident_of(key))
            assert found is not None
            assert (found["store"], found["headers"]) == (store, [["Set-Cookie", "***"]])
        assert await controls.look(ident_of("d")) is None

    async def test_a_store_that_is_down(self, controls: Controls, shared: FakeStore) -> None:
        """The rest is not shown for the whole, and what may be there is not denied."""
        shared.up = False
        with pytest.raises(StoreDown, match=r"The store 'shared' did not answer \(list: it is down\); ask again"):
            await controls.cached(api=None, route=None, limit=10)
        with pytest.raises(StoreDown, match="look: it is down"):
            await controls.look(ident_of("c"))
        assert await controls.look(ident_of("a")) is not None


class TestPurge:
    """Forgetting them."""

    @pytest.mark.parametrize(
        ("what", "left"),
        [
            ({}, []),
            ({"api": "vendor"}, []),
            ({"route": "default"}, ["b"]),
            ({"api": "vendor", "route": "own"}, ["a", "c"]),
            ({"api": "nobody"}, ["a", "c", "b"]),
            ({"ident": ident_of("c")}, ["a", "b"]),
        ],
    )
    async def test_what_fits_is_gone(
        self, controls: Controls, shared: FakeStore, what: dict[str, str], left: list[str]
    ) -> None:
        """In every store, and nothing else."""
        assert await controls.purge(**what) == 3 - len(left)
        assert await keys(controls) == left

    async def test_a_store_that_is_down(self, controls: Controls, shared: FakeStore, logged: Callable[[], str]) -> None:
        """The others are purged all the same, and that is told."""
        shared.up = False
        with pytest.raises(StoreDown, match="purge: it is down") as caught:
            await controls.purge(api="vendor")
        assert (caught.value.purged, controls.stores()[0]["entries"]) == (2, 0)
        assert "cache purged" in logged()

    @pytest.mark.parametrize(
        ("what", "doomed"),
        [
            ({}, [True, True]),
            ({"api": "vendor"}, [True, True]),
            ({"route": "own"}, [False, True]),
            ({"ident": ident_of("a")}, [True, False]),
            ({"api": "nobody"}, [False, False]),
        ],
    )
    async def test_what_is_under_way_is_not_stored_afterwards(
        self, controls: Controls, what: dict[str, str], doomed: list[bool]
    ) -> None:
        """An answer that is just being confirmed does not come back."""
        under_way = controls._app.survivors.shelves.flights
        flights = [flight(controls, key, route) for key, route in (("a", "default"), ("b", "own"))]
        for each in flights:
            under_way.add(each)
        await controls.purge(**what)
        assert [each.doomed for each in flights] == doomed


async def lost(controls: Controls, ident: str, target: str = "/own?token=hush") -> None:
    """A call that was sent, and of which nothing more was heard."""
    ledger = controls._app.survivors.ledgers.ledger("memory")
    subject = Subject("vendor", "own", "POST", target, "order-17")
    claim = Claim(ident, ledger.token(), "f", 60.0, 3600.0, 0.0, "n", resend=False, subject=subject)
    await ledger.reserve(call := ledger.open(claim))
    ledger.finish(call, Conclusion(Concluded.UNKNOWN, status=502))


class TestRecords:
    """Calls that must happen once."""

    async def test_without_a_ledger_there_is_none(self, controls: Controls) -> None:
        """Nothing to show, to list, or to settle."""
        assert (controls.ledgers(), controls.status()["ledgers"]) == ([], {})
        assert await controls.unsettled(api=None, store=None, limit=10) == []
        assert await controls.settle("0" * 32, "done", store=None) is None

    async def test_what_nobody_knows_is_counted_and_shown(self, controls: Controls) -> None:
        """In the status, and each with what it was."""
        await lost(controls, "a" * 32)
        await lost(controls, "b" * 32)
        status = controls.status()
        assert (status["ledgers"], status["unknown_outcomes"]) == ({"memory": "up"}, {"memory": 2})
        found = await controls.unsettled(api="vendor", store="memory", limit=10)
        assert [(each["id"], each["target"], each["status"]) for each in found] == [
            ("a" * 32, "/own?token=***", 502),
            ("b" * 32, "/own?token=***", 502),
        ]
        assert all(0.0 < each["expires_in"] <= 3600.0 for each in found)

    async def test_a_person_ends_the_doubt(self, controls: Controls, logged: Callable[[], str]) -> None:
        """About one call; the others stay as they are."""
        for ident in ("a" * 32, "b" * 32, "c" * 32):
            await lost(controls, ident)
        settled = await controls.settle("a" * 32, "done", store=None)
        assert settled is not None
        assert settled["state"] == "done"
        await controls.settle("b" * 32, "absent", store=None)
        left = {ident: await controls.record(ident * 32, store=None) for ident in "abc"}
        assert {ident: record and record["state"] for ident, record in left.items()} == {
            "a": "done",
            "b": None,
            "c": "unknown",
        }
        assert logged().splitlines().count("INFO call settled") == 2
