"""Answers that take longer than a lease: their owner keeps it, and repeats get the whole stream."""

from __future__ import annotations

import re
import socket
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import read_answer
from tests.support.ledger import (
    Bank,
    Gate,
    ended,
    event,
    pay,
    payment,
    replayed,
    streams,
    unsettled,
)
from tests.support.process import Document, Sidecar, document, wait_until
from tests.support.redis_server import RedisServer

EVENTS: Final = 3
RENEWALS: Final = 3
WHOLE: Final = b"".join(event(number) for number in range(EVENTS))


def paying(bank: Bank, **more: Any) -> Document:
    return {
        "url": bank.url,
        "breaker": False,
        "idempotency": {"store": "shared", "scope": "api", "lease": "1s", **more},
    }


@pytest.fixture(scope="module")
def pair(share: Start, bank: Bank, store: RedisServer) -> tuple[Sidecar, Sidecar]:
    apis = {"bank": paying(bank), "short": paying(bank, max_body="1KiB")}
    configuration = document(apis, stores={"shared": store.url})
    return share(configuration), share(configuration)


@pytest.fixture
def sidecar(pair: tuple[Sidecar, Sidecar], bank: Bank, store: RedisServer) -> Sidecar:
    bank.forget()
    store.ask("FLUSHALL")  # one record at a time: it is looked for
    return pair[0]


class Stream:
    """An answer of which the test lets each event go."""

    def __init__(self, bank: Bank, path: str) -> None:
        self._gates = [Gate() for _ in range(EVENTS)]
        bank.plan(path, streams(self._gates))

    def begin(self, agent: socket.socket, path: str, key: str) -> None:
        """The first event has reached its agent."""
        agent.sendall(payment(path, key))
        self._gates[0].open()
        while b"event 0" not in agent.recv(65536, socket.MSG_PEEK):
            pass

    def finish(self) -> None:
        for gate in self._gates:
            gate.open()


def idents(server: RedisServer) -> set[str]:
    """Of the records on a server."""
    return {ident for key in server.ask("KEYS", "*") for ident in re.findall(r"[0-9a-f]{32}", key.decode())}


def see_renewals(sidecar: Sidecar, server: RedisServer, count: int) -> None:
    """Wait until a lease has been seen to begin anew so many times; its record is never in doubt meanwhile."""
    (ident,) = wait_until(lambda: idents(server), "the record")
    left = [float("inf")]
    renewals = [0]

    def renewed() -> bool:
        record = sidecar.admin("GET", f"/v1/idempotency/{ident}").json()
        assert record["state"] == "running"
        renewals[0] += record["lease_ends_in"] > left[0]
        left[0] = record["lease_ends_in"]
        return renewals[0] >= count

    wait_until(renewed, f"{count} renewals")


def test_a_stream_that_outlives_its_lease_is_one_call(sidecar: Sidecar, bank: Bank, store: RedisServer) -> None:
    """Its owner says again and again that it is at it; at the end the whole stream is kept, as it came."""
    stream = Stream(bank, "/pay/stream")
    with sidecar.connect() as agent:
        stream.begin(agent, "/bank/pay/stream", "stream")
        see_renewals(sidecar, store, RENEWALS)
        assert unsettled(sidecar) == []
        stream.finish()
        got = read_answer(agent)
    assert (got.status, got.body, got.whole) == (200, WHOLE, True)
    answer = pay(sidecar, "/bank/pay/stream", "stream")
    assert (replayed(answer), answer.content) == (True, WHOLE)
    assert answer.headers["content-type"] == "text/event-stream"
    assert len(bank.asked) == 1


def test_a_twin_elsewhere_waits_for_the_whole_stream(
    sidecar: Sidecar, pair: tuple[Sidecar, Sidecar], bank: Bank, store: RedisServer
) -> None:
    """However many leases that takes; it gets the stream as its owner has told it."""
    stream = Stream(bank, "/pay/far")
    with sidecar.connect() as agent, pair[1].connect() as twin:
        stream.begin(agent, "/bank/pay/far", "far")
        twin.sendall(payment("/bank/pay/far", "far"))
        see_renewals(sidecar, store, RENEWALS)
        stream.finish()
        assert read_answer(agent).body == WHOLE
        got = read_answer(twin)
    assert (got.body, got.outcome, got.whole) == (WHOLE, "replayed", True)
    assert len(bank.asked) == 1


def test_a_stream_whose_agent_leaves_runs_on(sidecar: Sidecar, bank: Bank, store: RedisServer) -> None:
    """Nobody reads it any more; whoever repeats the call gets all of it."""
    stream = Stream(bank, "/pay/left")
    with sidecar.connect() as agent:
        stream.begin(agent, "/bank/pay/left", "left")
    wait_until(lambda: sidecar.value("backstay_agent_connections") == 0, "its leaving")
    see_renewals(sidecar, store, 1)
    with sidecar.connect() as agent:
        agent.sendall(payment("/bank/pay/left", "left"))
        stream.finish()
        got = read_answer(agent)
    assert (got.body, got.outcome, got.whole) == (WHOLE, "replayed", True)
    assert len(bank.asked) == 1


def test_a_stream_that_is_too_long_is_known_to_have_ended(sidecar: Sidecar, bank: Bank) -> None:
    """Its agent gets all of it; a repeat gets 409, and what the status was."""
    stream = Stream(bank, "/pay/long")
    with sidecar.connect() as agent:
        stream.begin(agent, "/short/pay/long", "long")
        stream.finish()
        assert read_answer(agent).body == WHOLE
    answer = pay(sidecar, "/short/pay/long", "long")
    assert ended(answer) == (409, "answer_not_kept")
    assert "200" in answer.json()["detail"]
    assert len(bank.asked) == 1
