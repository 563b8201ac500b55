"""Half a minute in the life of a sidecar whose vendors are at fault in every way there is. For tests of monitoring.

Every policy gets something to do, so that every metric moves. What a step waits for is in Backstay's own metrics or in
its answer; `rounds` of it are told apart by a number, so that nothing of the first is remembered in the second.
"""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.ledger import Bank, Gate, answers, drops, fails, streams, truncates, waits
from tests.support.process import PATIENCE, Document, Sidecar, document, wait_until, write

CAUGHT: Final = "caught.test"
_MANY: Final = 10_000
_QUICK: Final = {"base": "5ms", "max": "10ms"}
_AT_ONCE: Final = {"consecutive": 3, "open": "300ms", "max_open": "300ms", "ramp": "100ms", "probes": 1}


def configuration(folder: Path, bank: Bank) -> Document:
    """One API for each thing that can go wrong."""
    apis: dict[str, dict[str, Any]] = {
        "flaky": {"retry": {"attempts": 3, "backoff": _QUICK}, "breaker": "off"},
        "dead": {"retry": {"attempts": 3, "backoff": _QUICK}, "breaker": "off"},
        "down": {"breaker": _AT_ONCE},
        "shop": {
            "cache": {"mode": "ttl", "ttl": "200ms", "stale_while_revalidate": "off"},
            "fallback": ["stale", {"api": "backup"}, {"status": 200, "body": "{}"}],
            "breaker": "off",
        },
        "backup": {"breaker": "off"},
        "pay": {"idempotency": {"store": "ledger", "upstream": "ignores"}, "breaker": "off"},
        "limited": {"rate_limit": {"rate": "20/s", "burst": 1, "wait": "60ms"}, "breaker": "off"},
        "tried": {"breaker": {**_AT_ONCE, "consecutive": 1, "mode": "shadow"}},
        "model": {"timeout": {"idle": "200ms"}, "breaker": "off"},
        "caught": {"hosts": [CAUGHT]},
    }
    return document(
        {name: {"url": bank.url, **api} for name, api in apis.items()},
        stores={"ledger": f"sqlite:{folder / 'ledger.db'}"},
        tls_intercept={"ca_dir": str(folder / "ca"), "trust_dir": str(folder / "trust")},
    )


class FaultyVendors:
    """What happens between agents, a sidecar, and vendors that fail."""

    def __init__(self, sidecar: Sidecar, bank: Bank, file: Path, content: Document) -> None:
        self.sidecar = sidecar
        self.bank = bank
        self.file = file
        self.content = content
        self.trust = Path(content["tls_intercept"]["trust_dir"])

    def round(self, number: int) -> None:
        """All of it, once."""
        for step in (self.retries, self.outage, self.cache, self.payments, self.limits, self.shadow):
            step(number)
        for step in (self.broken_streams, self.egress, self.capture, self.reloads):
            step(number)

    # --- what a round consists of ---------------------------------------------------------------------------

    def retries(self, number: int) -> None:
        """One call is mended; so many are not that the budget is spent; one is wrong in itself."""
        self.plan(f"/mended/{number}", fails(503), answers)
        assert self.get(f"/flaky/mended/{number}").status_code == 200
        self.plan(f"/never/{number}", *[fails(502)] * _MANY)

        def is_spent() -> bool:
            self.get(f"/dead/never/{number}")
            return self.value("retries_total", result="budget") >= number

        wait_until(is_spent, "an empty budget")
        self.get("/nowhere")

    def outage(self, number: int) -> None:
        """The circuit opens, calls are refused, and it closes again."""
        self.plan(f"/v1/{number}", *[fails(500)] * _MANY)
        wait_until(lambda: self.outcome(f"/down/v1/{number}") == "circuit_open", "a refusal")
        wait_until(lambda: self.get("/down/v1").status_code == 200, "an end of the outage")
        wait_until(lambda: self.sidecar.breaker_state("down") == "closed", "a closed circuit")

    def cache(self, number: int) -> None:
        """A miss, a hit, two that share a call; then it fails: stale, another API's, the operator's own."""
        wait_until(lambda: self.outcome(f"/shop/kept/{number}") == "hit", "an answer that was kept")
        gate = Gate()
        self.plan(f"/shared/{number}", waits(gate))
        with ThreadPoolExecutor(2) as agents:
            both = [agents.submit(self.get, f"/shop/shared/{number}") for _ in range(2)]
            self.sidecar.wait_value(2, "backstay_inflight_requests", api="shop")
            gate.open()
            assert {each.result().status_code for each in both} == {200}
        self.plan(f"/kept/{number}", *[fails(503)] * _MANY)
        wait_until(lambda: self.outcome(f"/shop/kept/{number}") == "stale", "a stale answer")
        self.plan(f"/elsewhere/{number}", fails(503), answers)
        self.plan(f"/nowhere/{number}", fails(503), fails(503))
        assert self.outcome(f"/shop/elsewhere/{number}") == "fallback"
        assert self.outcome(f"/shop/nowhere/{number}") == "fallback"

    def payments(self, number: int) -> None:
        """Carried out, repeated, lost, asked for again, and without a key."""
        self.plan(f"/lost/{number}", drops)
        for path, key in (("charge", "a"), ("charge", "a"), ("lost", "b"), ("lost", "b"), ("charge", "")):
            headers = {"Idempotency-Key": f"{key}-{number}"} if key else {}
            self.sidecar.post(f"/pay/{path}/{number}", headers=headers, content=b"1")
        results = self.sidecar.values("backstay_idempotency_requests_total", "result")
        assert min(results["first"], results["unknown"], results["no_key"]) >= number, results
        assert results["replayed"] + results["joined"] >= number, results

    def limits(self, number: int) -> None:
        """So many at once that one waits and one is refused; the vendor has a limit, too."""

        def burst() -> bool:
            with ThreadPoolExecutor(4) as agents:
                list(agents.map(self.get, ["/limited/v1"] * 4))
            decided = [self.value("ratelimit_decisions_total", decision=each) for each in ("delayed", "limited")]
            return min(decided) >= number

        wait_until(burst, "a call that waits and one that is refused")
        self.plan(f"/throttled/{number}", fails(429))
        self.get(f"/backup/throttled/{number}")

    def shadow(self, number: int) -> None:
        """A circuit that only says what it would do."""
        self.plan(f"/tried/{number}", *[fails(500)] * _MANY)

        def is_told() -> bool:
            self.get(f"/tried/tried/{number}")
            return self.value("shadow_decisions_total", policy="breaker") >= number

        wait_until(is_told, "what the circuit would have done")

    def broken_streams(self, number: int) -> None:
        """Cut by the vendor, silent, and left by the agent."""
        opened, closed = Gate(), Gate()
        opened.open()
        self.plan(f"/cut/{number}", truncates)
        self.plan(f"/silent/{number}", streams([opened, closed]))
        self.plan(f"/left/{number}", streams([opened, closed]))
        for path in ("cut", "silent"):
            with httpx.stream("GET", self.sidecar.url(f"/model/{path}/{number}"), timeout=PATIENCE) as answer:
                _until_it_breaks(answer)
        with httpx.stream("GET", self.sidecar.url(f"/backup/left/{number}"), timeout=PATIENCE) as answer:
            next(answer.iter_raw())
        for reason in ("broken", "stalled", "abandoned"):
            self.wait(number, "requests_total", reason=reason)

    def egress(self, number: int) -> None:
        """A host that no API names, in a private network."""
        with httpx.Client(proxy=self.sidecar.url(), timeout=PATIENCE) as agent:
            assert agent.get(f"http://127.0.0.1:{self.bank.port}/{number}").status_code == 403

    def capture(self, number: int) -> None:
        """TLS that is ended; and a client that does not trust who signs."""
        told = ssl.create_default_context(cafile=str(self.trust / "ca.crt"))
        with httpx.Client(proxy=self.sidecar.url(), verify=told, timeout=PATIENCE) as agent:
            assert agent.get(f"https://{CAUGHT}/{number}").status_code == 200
        with httpx.Client(proxy=self.sidecar.url(), verify=ssl.create_default_context(), timeout=PATIENCE) as agent:
            try:
                agent.get(f"https://{CAUGHT}/{number}")
            except httpx.ConnectError:
                pass
            else:
                raise AssertionError("whom does it trust?")
        self.wait(number, "client_trust_failures_total")

    def reloads(self, number: int) -> None:
        """One that is refused, and one that is taken."""
        good = {**self.content, "drain": {"timeout": f"{20 + number}s"}}
        write(self.file, {**good, "apis": 1})
        self.sidecar.signal(signal.SIGHUP)
        self.sidecar.wait_log("reload failed, the old configuration stays in force", number)
        write(self.file, good)
        self.sidecar.signal(signal.SIGHUP)
        self.sidecar.wait_log("reloaded", number)

    # --- shorter words --------------------------------------------------------------------------------------

    @property
    def plan(self) -> Callable[..., None]:
        return self.bank.plan

    def get(self, path: str) -> httpx.Response:
        return self.sidecar.get(path)

    def outcome(self, path: str) -> str:
        return str(self.get(path).headers.get("Backstay-Outcome", "forwarded"))

    def value(self, name: str, **labels: str) -> float:
        return self.sidecar.value(f"backstay_{name}", **labels)

    def wait(self, least: float, name: str, **labels: str) -> None:
        self.sidecar.wait_value(least, f"backstay_{name}", **labels)


def _until_it_breaks(answer: httpx.Response) -> None:
    try:
        for _ in answer.iter_raw():
            pass
    except httpx.HTTPError:
        return
    raise AssertionError("it did not break")
