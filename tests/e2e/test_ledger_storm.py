"""Calls that must happen once, many at a time: one of them is made, whoever else makes it, in whatever process."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import Crowd, Got, all_wait, largest_crowd, read_answer
from tests.support.ledger import Bank, Gate, ended, pay, payment, replayed, results, waits
from tests.support.process import Document, Sidecar, document, wait_until
from tests.support.redis_server import RedisServer

MANY: Final = 1000
HASTY: Final = {"name": "hasty", "match": {"paths": ["/hasty/*"]}, "timeout": {"total": "300ms"}}
RUNS: Final = {"scope": "header:x-run-id", "window": "10m"}


def paying(bank: Bank, **idempotency: Any) -> Document:
    return {"url": bank.url, "breaker": False, "idempotency": idempotency}


@pytest.fixture(scope="module")
def size() -> int:
    return largest_crowd(MANY)


@pytest.fixture(scope="module")
def sidecar(bank: Bank, share: Start, size: int, tmp_path_factory: pytest.TempPathFactory) -> Sidecar:
    apis = {
        "memory": paying(bank),
        "ledger": paying(bank, store="ledger"),
        "strict": paying(bank, require=True),
        "derived": paying(bank, derive=RUNS),
        "window": paying(bank, derive={**RUNS, "window": "1s"}, upstream="honours"),
    }
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    return share(document(apis, stores={"ledger": f"sqlite:{file}"}, log={"access": False}))


@pytest.fixture(scope="module")
def pods(bank: Bank, share: Start, size: int, store: RedisServer) -> list[Sidecar]:
    """Three that share a ledger; the last one has a route that does not wait for long."""
    api = paying(bank, store="shared", scope="api")
    apis = ({**api, "routes": routes} for routes in ([], [], [HASTY]))
    return [share(document({"bank": api}, stores={"shared": store.url}, log={"access": False})) for api in apis]


def together(pods: list[Sidecar], size: int, request: bytes, gate: Gate) -> list[Got]:
    """What each of a crowd gets if the bank decides only when all have asked."""
    with ExitStack() as stack:
        crowds = [stack.enter_context(Crowd(pod, size // len(pods))) for pod in pods]
        for crowd in crowds:
            for agent in crowd.agents:
                agent.sendall(request)
        for pod in pods:
            all_wait(pod, size // len(pods))
        gate.open()
        return [got for crowd in crowds for got in crowd.answers()]


def assert_one(got: list[Got], bank: Bank, path: str) -> None:
    """One call was made, and all have its answer; each but one is told that it was not its own."""
    (commit,) = bank.paid(path)
    assert {(each.status, each.body, each.whole) for each in got} == {(200, commit.result, True)}
    others = len(got) - 1
    assert Counter(each.field("Idempotent-Replayed") for each in got) == {"": 1, "true": others}
    assert Counter(each.outcome for each in got) == {"": 1, "replayed": others}


# --- one call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "ledger"])
def test_a_thousand_calls_with_one_key_are_one_call(sidecar: Sidecar, bank: Bank, size: int, store: str) -> None:
    """All get the same answer, and so does whoever comes later."""
    gate = Gate()
    bank.plan(f"/pay/{store}", waits(gate))
    before = results(sidecar)
    got = together([sidecar], size, payment(f"/{store}/pay/{store}", "one"), gate)
    assert_one(got, bank, f"/pay/{store}")
    assert results(sidecar) - before == {"first": 1, "joined": size - 1}
    late = pay(sidecar, f"/{store}/pay/{store}", "one")
    assert replayed(late)
    assert late.content == got[0].body
    assert len(bank.paid(f"/pay/{store}")) == 1


def test_a_thousand_calls_through_three_processes_are_one_call(pods: list[Sidecar], bank: Bank, size: int) -> None:
    """They share a ledger; each process asks it for all of its callers at once."""
    gate = Gate()
    bank.plan("/pay/all", waits(gate))
    got = together(pods, size, payment("/bank/pay/all", "all"), gate)
    assert_one(got, bank, "/pay/all")
    assert all(replayed(pay(pod, "/bank/pay/all", "all")) for pod in pods)


def test_a_twin_waits_for_its_own_total(pods: list[Sidecar], bank: Bank) -> None:
    """After that it gets 409 with Retry-After; the call goes on."""
    gate = Gate()
    bank.plan("/hasty/one", waits(gate))
    with pods[0].connect() as agent:
        agent.sendall(payment("/bank/hasty/one", "hasty"))
        gate.wait_reached()
        answer = pay(pods[-1], "/bank/hasty/one", "hasty")
        assert ended(answer) == (409, "in_progress")
        assert int(answer.headers["retry-after"]) > 0
        gate.open()
        assert read_answer(agent).outcome == ""
    assert replayed(pay(pods[1], "/bank/hasty/one", "hasty"))


# --- other calls --------------------------------------------------------------------------------------------


def test_other_keys_wait_for_nobody(sidecar: Sidecar, bank: Bank) -> None:
    """While a call hangs, calls with other keys are made, and so are those without."""
    gate = Gate()
    bank.plan("/pay/held", waits(gate))
    with sidecar.connect() as agent:
        agent.sendall(payment("/ledger/pay/held", "held"))
        gate.wait_reached()
        for number in range(20):
            assert ended(pay(sidecar, "/ledger/pay/free", f"free-{number}")) == (200, "")
        assert ended(pay(sidecar, "/ledger/pay/free")) == (200, "")
        gate.open()
        assert read_answer(agent).outcome == ""
    assert len(bank.paid("/pay/free")) == 21


def test_a_key_stands_for_one_call(sidecar: Sidecar, bank: Bank) -> None:
    """Another body, path, query or method under it is refused, while the first is under way and afterwards."""
    gate = Gate()
    bank.plan("/pay/mine", waits(gate))
    with sidecar.connect() as agent:
        agent.sendall(payment("/memory/pay/mine", "mine"))
        gate.wait_reached()
        assert ended(pay(sidecar, "/memory/pay/mine", "mine", b"amount=2")) == (422, "key_reused")
        gate.open()
        assert read_answer(agent).status == 200
    for path, body in (("/pay/mine", b"amount=2"), ("/pay/yours", b"amount=1"), ("/pay/mine?x=1", b"amount=1")):
        assert ended(pay(sidecar, f"/memory{path}", "mine", body)) == (422, "key_reused")
    assert len(bank.under("mine")) == 1


def test_apis_do_not_share_keys(sidecar: Sidecar, bank: Bank) -> None:
    """The same key at two vendors is two calls."""
    for api in ("memory", "ledger"):
        assert ended(pay(sidecar, f"/{api}/pay/apart", "apart")) == (200, "")
    assert len(bank.paid("/pay/apart")) == 2


def test_a_key_may_be_demanded(sidecar: Sidecar, bank: Bank) -> None:
    """Without one nothing is sent; calls that change nothing need none."""
    assert ended(pay(sidecar, "/strict/pay/strict")) == (400, "key_missing")
    assert sidecar.get("/strict/pay/strict").status_code == 200
    assert [asked.request.method for asked in bank.requests("/pay/strict")] == ["GET"]


@pytest.mark.parametrize(
    "lines",
    [("Idempotency-Key:",), ("Idempotency-Key: a", "Idempotency-Key: b"), (f"Idempotency-Key: {'k' * 1000}",),
     ("Idempotency-Key: \xff",)],
    ids=["empty", "two", "long", "not ASCII"],
)  # fmt: skip
def test_a_key_that_is_none_is_refused(sidecar: Sidecar, bank: Bank, lines: tuple[str, ...]) -> None:
    """Rather than sent: whoever made it means something by it."""
    with sidecar.connect() as agent:
        head = "\r\n".join(("POST /memory/pay/odd HTTP/1.1", "Host: a", "Content-Length: 1", *lines, "", ""))
        agent.sendall(head.encode("latin-1") + b"1")
        got = read_answer(agent)
    assert (got.status, got.outcome) == (400, "key_malformed")
    assert not bank.requests("/pay/odd")


# --- keys of our making -------------------------------------------------------------------------------------


def test_a_key_is_derived_from_the_call_and_its_run(sidecar: Sidecar, bank: Bank) -> None:
    """The same call of the same run is made once; of another run, or another body, it is another call."""
    assert not replayed(pay(sidecar, "/derived/pay/run", x_run_id="1"))
    assert replayed(pay(sidecar, "/derived/pay/run", x_run_id="1"))
    assert not replayed(pay(sidecar, "/derived/pay/run", x_run_id="2"))
    assert not replayed(pay(sidecar, "/derived/pay/run", None, b"amount=2", x_run_id="1"))
    assert [commit.body for commit in bank.paid("/pay/run")] == [b"amount=1", b"amount=1", b"amount=2"]


def test_a_call_of_no_run_passes_and_is_counted(sidecar: Sidecar, bank: Bank) -> None:
    """There is nothing to tell a repetition by."""
    before = results(sidecar)
    assert [ended(pay(sidecar, "/derived/pay/alone")) for _ in range(2)] == [(200, "")] * 2
    assert len(bank.paid("/pay/alone")) == 2
    assert results(sidecar) - before == {"no_scope": 2}


def test_after_its_window_the_same_call_is_legal_again(sidecar: Sidecar, bank: Bank) -> None:
    """It has another key then, lest a vendor that honours keys takes it for the first one."""

    def made_again() -> bool:
        assert ended(pay(sidecar, "/window/pay/again", x_run_id="1"))[0] == 200
        return len(bank.paid("/pay/again")) > 1

    wait_until(made_again, "the end of the window")
    one, two = bank.paid("/pay/again")
    assert one.key
    assert two.key
    assert one.key != two.key
