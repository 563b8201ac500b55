"""``backstay run --linger``, for plain containers: the agent gets SIGTERM at the same time, and goes on for a while."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.e2e.conftest import Start
from tests.support.ledger import Bank, Gate, delays, pay, payment, replayed
from tests.support.load import Load
from tests.support.process import PATIENCE, command, document, wait_until
from tests.support.vendor import Vendor


def test_an_agent_that_goes_on_is_served_as_ever(start: Start, vendor: Vendor) -> None:
    """Not ready, but no answer tells it to leave; once it has ended, so does Backstay."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "60s"}), "--linger", "1")
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo") as load:
        sidecar.terminate()
        sidecar.wait_log("lingering")
        assert sidecar.get("/readyz", "metrics").status_code == 503
        load.more(300)
        assert load.told_to_close == 0
        assert sidecar.get("/shop/echo").headers.get("connection") != "close"
    assert sidecar.wait() == 0
    assert (load.lost, load.refused, set(load.answers)) == ([], 0, {200})
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_its_health_is_asked_from_beside_it(start: Start, vendor: Vendor) -> None:
    """By a command, in images without curl: ready, then only alive, then gone."""
    sidecar = start(document({"shop": {"url": vendor.url}}), "--linger", "30")
    where = ("--at", f"127.0.0.1:{sidecar.ports['metrics']}")
    ready = command("health", "--ready", "--wait", "20", *where)
    assert (ready.returncode, ready.stdout) == (0, "ready\n")
    sidecar.terminate()
    sidecar.wait_log("lingering")
    unready = command("health", "--ready", *where)
    assert (unready.returncode, unready.stderr.rpartition("/")[2]) == (1, "readyz answers 503\n")
    assert command("health", *where).stdout == "alive\n"
    sidecar.stop()
    assert command("health", *where).returncode == 1


def test_an_agent_without_end_is_told_to_leave_in_time(start: Start, vendor: Vendor) -> None:
    """drain.timeout holds for both: a part of it is left for the drain, and every call that was taken is answered."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "2s"}), "--linger", "30")
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo") as load:
        sidecar.terminate()
        assert sidecar.wait() == 0
    assert load.told_to_close > 0
    assert set(load.answers) == {200}
    assert len(vendor.calls) == load.total
    assert 0.5 < sidecar.wait_log("draining")["timeout"] <= 1.0
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_a_second_signal_ends_a_lingering_one(start: Start, vendor: Vendor) -> None:
    """As it ends a drain."""
    sidecar = start(document({"shop": {"url": vendor.url}}), "--linger", "30")
    sidecar.terminate()
    sidecar.wait_log("lingering")
    assert sidecar.alive
    sidecar.terminate()
    assert sidecar.wait() == 1
    assert sidecar.lines("draining") == []


def test_a_stream_is_let_to_its_end(start: Start, vendor: Vendor) -> None:
    """It is a call under way for as long as it lasts."""
    sidecar = start(document({"shop": {"url": vendor.url}}), "--linger", "0.2")
    with httpx.stream("GET", sidecar.url("/shop/events/2"), timeout=PATIENCE) as answer:
        vendor.allow()
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: event 0\n\n"
        sidecar.terminate()
        sidecar.wait_log("lingering")
        assert sidecar.get("/shop/echo").status_code == 200
        vendor.allow()
        assert b"".join(pieces) == b"data: event 1\n\n"
    assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_a_call_whose_agent_has_left_is_waited_for(start: Start, bank: Bank, tmp_path: Path) -> None:
    """It must happen once, and its record is written before the end: the next process has the answer."""
    gate = Gate()
    bank.plan("/pay/late", delays(gate))
    api = {"url": bank.url, "idempotency": {"store": "ledger", "upstream": "ignores"}}
    content = document({"bank": api}, stores={"ledger": f"sqlite:{tmp_path / 'ledger.db'}"})
    sidecar = start(content, "--linger", "0.2")
    with sidecar.connect() as agent:
        agent.sendall(payment("/bank/pay/late", "late"))
        gate.wait_reached()
    sidecar.terminate()
    sidecar.wait_log("lingering")
    wait_until(lambda: sidecar.value("backstay_agent_connections") == 0, "the agent being gone")
    gate.open()
    assert sidecar.wait() == 0
    assert replayed(pay(start(content), "/bank/pay/late", "late"))
    assert len(bank.under("late")) == 1
