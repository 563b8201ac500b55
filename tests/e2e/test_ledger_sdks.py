"""SDKs that repeat calls by themselves, and agents that do not wait: what they wanted once happens once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import openai
import pytest
import stripe

from tests.e2e.conftest import Start
from tests.support.crowd import all_wait
from tests.support.ledger import KEY, Bank, Gate, answers, drops, ended, in_turn, pay, payment, replayed, results, waits
from tests.support.process import PATIENCE, Document, Sidecar, document, wait_until

CHARGES: Final = "/v1/charges"
COMPLETIONS: Final = "/v1/chat/completions"
REQUESTS: Final = "backstay_requests_total"
HONOURED: Final = {"upstream": "honours"}
IGNORED: Final = {"upstream": "ignores"}
CLOSES: Final = {"Connection": "close"}  # a reset of a kept connection may be an old goodbye


def paying(bank: Bank, *, retry: Any = False, **idempotency: Any) -> Document:
    return {"url": bank.url, "breaker": False, "retry": retry, "idempotency": idempotency}


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    with Bank(fields=CLOSES) as bank:
        yield bank


@pytest.fixture(scope="module")
def careful() -> Iterator[Bank]:
    """It honours keys."""
    with Bank(honours=True, fields=CLOSES) as bank:
        yield bank


@pytest.fixture(scope="module")
def sidecar(bank: Bank, careful: Bank, share: Start) -> Sidecar:
    apis = {
        "plain": paying(bank, **IGNORED),
        "retried": paying(bank, retry={}, **IGNORED),
        "sure": paying(careful, retry={"budget": "off"}, **HONOURED),
        "resent": paying(careful, on_unknown="resend", **HONOURED),
    }
    return share(document(apis, log={"access": "all"}))


@pytest.fixture(autouse=True)
def _afresh(bank: Bank, careful: Bank) -> None:
    for each in (bank, careful):
        each.usual = answers
        each.forget()


def complete(client: openai.OpenAI, key: str) -> str:
    """What a model says."""
    headers = {KEY: key}
    asked: Any = [{"role": "user", "content": "hi"}]
    whole = client.chat.completions.create(model="test", messages=asked, extra_headers=headers)
    return str(whole.choices[0].message.content)


def agent_of(sidecar: Sidecar, api: str) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_1", base_addresses={"api": sidecar.url(f"/{api}")}, max_network_retries=2)


def charge(sidecar: Sidecar, api: str, count: int) -> tuple[list[str], list[stripe.StripeError]]:
    """Charge so many times, as one does: (ids, errors)."""
    client = agent_of(sidecar, api)
    made: list[str] = []
    errors: list[stripe.StripeError] = []
    for number in range(count):
        try:
            made.append(client.v1.charges.create({"amount": number + 1, "currency": "eur", "source": "tok_1"}).id)
        except stripe.StripeError as error:
            errors.append(error)
    return made, errors


# --- who does not wait --------------------------------------------------------------------------------------


def test_an_sdk_that_times_out_gets_the_answer_of_its_first_call(sidecar: Sidecar, bank: Bank) -> None:
    """It gives up, and repeats with the same key: the call that it left has gone on for it."""
    gate = Gate()
    bank.plan(COMPLETIONS, waits(gate))
    with (
        openai.OpenAI(api_key="sk-1", base_url=sidecar.url("/plain/v1"), timeout=1.0, max_retries=10) as client,
        ThreadPoolExecutor(1) as agent,
    ):
        said = agent.submit(complete, client, "order-1")
        gate.wait_reached()
        all_wait(sidecar, 2)
        gate.open()
        assert said.result(PATIENCE) == bank.commits[0].message
    assert len(bank.asked) == len(bank.commits) == 1


def test_a_call_that_was_left_is_ended_before_the_process_is(start: Start, bank: Bank, tmp_path: Path) -> None:
    """SIGTERM waits for it: the repeat, at the next process, has its answer."""
    gate = Gate()
    bank.plan("/pay/left", waits(gate))
    stores = {"ledger": f"sqlite:{tmp_path / 'ledger.db'}"}
    configuration = document({"bank": paying(bank, store="ledger")}, stores=stores)
    sidecar = start(configuration)
    with sidecar.connect() as agent:
        agent.sendall(payment("/bank/pay/left", "left"))
        gate.wait_reached()
    wait_until(lambda: sidecar.value("backstay_agent_connections") == 0, "its leaving")
    sidecar.terminate()
    sidecar.wait_log("draining")
    assert sidecar.value("backstay_inflight_requests") == 1
    gate.open()
    assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0
    answer = pay(start(configuration), "/bank/pay/left", "left")
    assert (replayed(answer), answer.content) == (True, bank.commits[0].result)
    assert len(bank.asked) == 1


def test_an_agent_that_leaves_before_anything_was_sent_leaves_nothing(sidecar: Sidecar, bank: Bank) -> None:
    """Half a request is no call."""
    with sidecar.connect() as agent:
        agent.sendall(payment("/plain/pay/half", "half")[:-1])
        all_wait(sidecar, 1)
    all_wait(sidecar, 0)
    assert not bank.asked
    answer = pay(sidecar, "/plain/pay/half", "half")
    assert (ended(answer), replayed(answer)) == ((200, ""), False)


# --- who repeats --------------------------------------------------------------------------------------------


def test_stripe_charges_once_where_we_repeat(sidecar: Sidecar, careful: Bank) -> None:
    """The vendor knows keys and loses every second answer: the SDK does not hear of it."""
    careful.usual = in_turn(answers, drops)
    made, errors = charge(sidecar, "sure", 10)
    assert (len(set(made)), errors) == (10, [])
    assert len({commit.key for commit in careful.commits}) == len(careful.commits) == 10
    assert sidecar.value(REQUESTS, api="sure") == 10
    assert len(careful.asked) == 19  # the answer to each retry comes


def test_stripe_charges_once_where_its_sdk_repeats(sidecar: Sidecar, careful: Bank) -> None:
    """Without a retry of ours it learns that it may repeat: on_unknown: resend sends the same key again."""
    careful.usual = in_turn(drops, answers)
    made, errors = charge(sidecar, "resent", 3)
    assert (len(set(made)), errors) == (3, [])
    assert len({commit.key for commit in careful.commits}) == len(careful.commits) == 3
    assert sidecar.value(REQUESTS, api="resent") == len(careful.asked) == 6
    assert results(sidecar, api="resent") == {"first": 3, "resent": 3}


@pytest.mark.parametrize("api", ["plain", "retried"])
def test_stripe_is_told_once_that_nobody_knows(sidecar: Sidecar, bank: Bank, api: str) -> None:
    """The vendor takes no heed of keys: neither we nor the SDK repeat what it may have carried out."""
    bank.usual = in_turn(answers, drops)
    before = sidecar.value(REQUESTS, api=api)
    made, errors = charge(sidecar, api, 6)
    assert (len(set(made)), len(errors)) == (3, 3)
    assert {error.http_status for error in errors} == {502}
    assert all("it is not known whether the call was carried out" in str(error.http_body) for error in errors)
    assert len(bank.commits) == len(bank.asked) == 6
    assert sidecar.value(REQUESTS, api=api) - before == 6


def test_stripe_does_not_repeat_what_is_refused(sidecar: Sidecar, bank: Bank) -> None:
    """Its SDK repeats every 409 but those that say that this is of no use."""
    bank.plan(CHARGES, drops)
    before = sidecar.value(REQUESTS, api="plain")
    for status in (502, 409):
        with pytest.raises(stripe.StripeError) as refused:
            agent_of(sidecar, "plain").v1.charges.create({"amount": 1}, {"idempotency_key": "order-2"})
        assert refused.value.http_status == status
    assert sidecar.value(REQUESTS, api="plain") - before == 2
    assert len(bank.commits) == 1


def test_openai_does_not_repeat_what_is_refused(sidecar: Sidecar, bank: Bank) -> None:
    """Its SDK repeats every 409 and 5xx but those that say that this is of no use."""
    bank.plan(COMPLETIONS, drops)
    before = sidecar.value(REQUESTS, api="plain")
    with openai.OpenAI(api_key="sk-1", base_url=sidecar.url("/plain/v1"), max_retries=5) as client:
        for status in (502, 409):
            with pytest.raises(openai.APIStatusError) as refused:
                complete(client, "order-3")
            assert refused.value.status_code == status
    assert sidecar.value(REQUESTS, api="plain") - before == 2
    assert len(bank.commits) == 1
