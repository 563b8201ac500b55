"""proxy/kubernetes/webhook.py: reviews over HTTP, and what is counted."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from proxy.admin.api import serve
from proxy.clock import Clock
from proxy.kubernetes.cluster import Unreadable
from proxy.kubernetes.model import Refused
from proxy.kubernetes.webhook import Offer, Webhook
from proxy.telemetry.metrics import Registry
from tests.support import virtual
from tests.support.injected import INSTALLATION, YAML, a_supply
from tests.support.reviews import NAMES, Document, patched, recorded
from tests.support.valid_pods import faults
from tests.support.virtual import START

SKIPPED_ASIDE = ("create-unannotated", "create-opted-out", "create-without-containers")
NOT_ABOUT_NEW_PODS = ("update", "delete", "update-ephemeral-containers", "create-binding", "create-deployment")
RESULTS = {
    **dict.fromkeys(NAMES, "injected"),
    **dict.fromkeys((*SKIPPED_ASIDE, *NOT_ABOUT_NEW_PODS), "skipped"),
    **dict.fromkeys(("create-host-network", "create-windows", "create-injected"), "skipped"),
    **dict.fromkeys(("create-misspelt", "create-bad-value"), "refused"),
    "v1beta1": "invalid",
}
WARNED = ("create-host-network", "create-windows")


class FakeMaps:
    """The ConfigMaps of a cluster, in memory."""

    def __init__(self) -> None:
        self.maps: dict[tuple[str, str], dict[str, str]] = {("agents", "agent-config"): {"backstay.yaml": YAML}}
        self.failure: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def data(self, namespace: str, name: str) -> Mapping[str, str]:
        self.asked.append((namespace, name))
        if self.failure is not None:
            raise self.failure
        if (namespace, name) not in self.maps:
            raise Refused("there is no such ConfigMap")
        return self.maps[namespace, name]


class Api:
    """An API server's side of the webhook."""

    def __init__(self, webhook: Webhook, registry: Registry, maps: FakeMaps, client: Any) -> None:
        self.webhook = webhook
        self.registry = registry
        self.maps = maps
        self.client: TestClient[Request, Application] = client

    async def review(self, document: Any, path: str = "/inject") -> Document:
        response = await self.client.post(path, json=document)
        assert response.status == 200, await response.text()
        found: Document = await response.json()
        return found

    def results(self) -> dict[str, float]:
        found = {
            each: self.registry.counter("backstay_injector_reviews_total", result=each)
            for each in (*RESULTS.values(), "failed")
        }
        return {result: counter.value for result, counter in found.items() if counter.value}


@pytest.fixture
async def api(aiohttp_client: Any) -> Api:
    registry, maps = Registry(), FakeMaps()
    webhook = Webhook(Clock(asyncio.get_running_loop()), registry, maps, Offer(INSTALLATION, a_supply(is_carried=True)))
    return Api(webhook, registry, maps, await aiohttp_client(webhook.app()))


@pytest.mark.parametrize("name", [name for name in NAMES if RESULTS[name] == "injected"])
async def test_a_pod_that_asks_gets_its_sidecar(api: Api, name: str) -> None:
    """By a patch after which every version of Kubernetes takes it; asked about it again, there is nothing to do."""
    review = recorded(name)
    found = await api.review(review)
    pod = patched(review, found)
    assert found["response"]["uid"] == review["request"]["uid"]
    assert faults(pod) == []
    assert pod["metadata"]["labels"]["backstay.dev/injected"] == "true"
    again = await api.review(recorded(name, object=pod))
    assert "patch" not in again["response"]
    assert again["response"]["allowed"]
    assert api.results() == {"injected": 1, "skipped": 1}


@pytest.mark.parametrize("name", [name for name in NAMES if RESULTS[name] == "skipped"])
async def test_a_pod_that_does_not_ask_or_cannot_have_one_stays(api: Api, name: str) -> None:
    """It is let through; a warning is for those alone that were asked for."""
    review = recorded(name)
    response = (await api.review(review))["response"]
    warnings = [text.startswith("backstay: not injected: the pod ") for text in response.pop("warnings", [])]
    assert warnings == ([True] if name in WARNED else [])
    assert response == {"uid": review["request"]["uid"], "allowed": True}
    assert api.results() == {"skipped": 1}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("create-misspelt", "backstay.dev/captures"), ("create-bad-value", "backstay.dev/inject")],
)
async def test_a_pod_that_asks_for_what_there_is_not_is_refused(api: Api, name: str, sentence: str) -> None:
    """With what to write instead."""
    response = (await api.review(recorded(name)))["response"]
    assert not response["allowed"]
    assert sentence in response["status"]["message"]
    assert api.results() == {"refused": 1}


async def test_a_refusal_has_an_end(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the API server nor the log gets all that a pod has wrong."""
    pod = recorded("create")["request"]["object"]
    pod["metadata"]["annotations"] |= {f"backstay.dev/{'x' * 1000}{each}": "true" for each in range(1000)}
    response = (await api.review(recorded("create", object=pod)))["response"]
    assert len(response["status"]["message"]) < 5000
    assert max(len(record.__dict__["why"]) for record in caplog.records if record.message == "refused") < 5000


async def test_a_pod_that_is_nested_without_end_is_no_defect(api: Api) -> None:
    """The API server would not send it; others may find the port."""
    body = json.dumps(recorded("create")).replace(
        '"image":', f'"securityContext": {{"x": {"[" * 900}{"]" * 900}}}, "image":', 1
    )
    response = await api.client.post("/inject", data=body)
    assert response.status in {200, 400}
    assert "failed" not in api.results()


async def test_a_dry_run_is_answered_alike(api: Api) -> None:
    """Nothing is done but to answer."""
    review = recorded("create")
    wet = await api.review(review)
    dry = await api.review(recorded("create", dryRun=True))
    assert dry == wet


async def test_a_namespace_may_want_all_of_its_pods_injected(api: Api) -> None:
    """At another path: those that say nothing, too, and not those that say no."""
    found = await api.review(recorded("create-unannotated"), "/inject/namespace")
    assert faults(patched(recorded("create-unannotated"), found)) == []
    assert "patch" not in (await api.review(recorded("create-opted-out"), "/inject/namespace"))["response"]
    assert api.results() == {"injected": 1, "skipped": 1}


# --- configurations -----------------------------------------------------------------------------------------


async def test_a_named_config_map_is_read_and_mounted(api: Api) -> None:
    """That of the pod's namespace, each time anew; without one nobody is asked."""
    review = recorded("create-config-map")
    volumes = {each["name"]: each for each in patched(review, await api.review(review))["spec"]["volumes"]}
    assert volumes["backstay-config"]["configMap"]["name"] == "agent-config"
    api.maps.maps["agents", "agent-config"] = {"backstay.yaml": "version: 1\napis: {x: {url: ftp://x}}\n"}
    response = (await api.review(review))["response"]
    assert "ConfigMap agent-config, key backstay.yaml:2:" in response["status"]["message"]
    await api.review(recorded("create"))
    assert api.maps.asked == [("agents", "agent-config")] * 2


async def test_a_config_map_that_is_not_there_is_a_refusal(api: Api) -> None:
    """It is the pod that is wrong; its owner tries again until the ConfigMap is there."""
    api.maps.maps.clear()
    response = (await api.review(recorded("create-config-map")))["response"]
    assert (response["allowed"], response["status"]["message"]) == (False, "backstay: there is no such ConfigMap")


@pytest.mark.parametrize(("readable", "is_allowed"), [((), False), (("x",), False), (("x", "agents"), True)])
async def test_a_config_map_that_nobody_may_read_is_a_refusal(
    api: Api, readable: tuple[str, ...], is_allowed: bool
) -> None:
    """Of a namespace that the chart has left out: nobody is asked, and the owner of the pod is told why."""
    limited = replace(INSTALLATION, config_map_namespaces=readable)
    api.webhook.offer = replace(api.webhook.offer, installation=limited)
    response = (await api.review(recorded("create-config-map")))["response"]
    assert response["allowed"] == is_allowed == bool(api.maps.asked)
    if not is_allowed:
        assert response["status"]["message"] == (
            "backstay: the injector may not read ConfigMaps of namespace 'agents', so that its pods cannot name one; "
            "remove backstay.dev/config, or let the chart's injector.rbac have the namespace"
        )


async def test_a_config_map_that_cannot_be_read_is_a_failure(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """No answer at all, so that failurePolicy decides; counted and logged."""
    api.maps.failure = Unreadable("the API server answered 403: forbidden")
    response = await api.client.post("/inject", json=recorded("create-config-map"))
    assert response.status == 500
    assert await response.text() == "backstay: the API server answered 403: forbidden\n"
    assert api.results() == {"failed": 1}
    assert [(record.msg, vars(record)["why"]) for record in caplog.records] == [
        ("a review failed", "the API server answered 403: forbidden")
    ]


async def test_a_failure_may_be_said_in_any_characters(api: Api) -> None:
    """JSON may hold half of one, which no answer can."""
    api.maps.failure = Unreadable("the API server answered 500: \ud800")
    response = await api.client.post("/inject", json=recorded("create-config-map"))
    assert (response.status, await response.text()) == (500, "backstay: the API server answered 500: ?\n")


async def test_another_offer_holds_from_the_next_review_on(api: Api) -> None:
    """As after a reload."""
    api.webhook.offer = replace(api.webhook.offer, installation=replace(INSTALLATION, image="next:2"))
    review = recorded("create")
    assert "'image': 'next:2'" in str(patched(review, await api.review(review)))


# --- what is no review ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "this is no JSON"),
        (b"\xff", 400, "this is no JSON"),
        (b"[" * 100_000, 400, "this is no JSON"),
        (b"{}", 400, "this is no AdmissionReview"),
        (b" " * (4 << 20) + b"{}", 413, "Maximum request body size 4194304 exceeded"),
    ],
)
async def test_what_is_no_review_gets_a_clear_answer(api: Api, body: bytes, status: int, sentence: str) -> None:
    """In one line; it is counted apart, since nobody is to be woken by whoever scans ports."""
    response = await api.client.post("/inject", data=io.BytesIO(body))
    assert response.status == status
    assert (await response.text()).startswith(f"backstay: {sentence}")
    assert api.results() == {"invalid": 1}


async def test_a_body_that_is_not_what_it_says_is_no_defect(api: Api) -> None:
    """Of ours: whoever sent it is answered that it is no review."""
    response = await api.client.post("/inject", data=b"{}", headers={"Content-Encoding": "gzip"})
    assert (response.status, await response.text()) == (
        400,
        "backstay: this was cut short, or is not encoded as it says\n",
    )
    assert api.results() == {"invalid": 1}


async def test_who_hangs_up_in_the_middle_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Of ours, either: counted apart, without a trace in the log."""
    registry = Registry()
    webhook = Webhook(Clock(asyncio.get_running_loop()), registry, FakeMaps(), Offer(INSTALLATION, a_supply()))
    runner = await serve(webhook.app(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    writer.write(b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    await reader.readuntil(b"100 Continue\r\n\r\n")
    writer.write(b"{")
    writer.close()
    async with asyncio.timeout(10):
        while not registry.counter("backstay_injector_reviews_total", result="invalid").value:
            await asyncio.sleep(0.01)
    await runner.cleanup()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_review_that_does_not_come_in_is_given_up() -> None:
    """After ten seconds; whoever sends it so slowly has given up itself."""

    async def scenario(clock: Clock) -> bytes:
        webhook = Webhook(clock, Registry(), FakeMaps(), Offer(INSTALLATION, a_supply()))
        runner = await serve(webhook.app(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        answer = await reader.readuntil(b" s\n")
        assert clock.now() == pytest.approx(START + 10.0, abs=1.0)
        assert await reader.read() == b""  # the connection ends, too
        writer.close()
        await runner.cleanup()
        return answer

    answer = virtual.run(scenario)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"backstay: the review did not come in within 10 s\n")


async def test_only_few_large_reviews_are_held_at_once(api: Api) -> None:
    """Whoever finds the port sends many that never end; they take no memory, and nobody else's place."""
    begun = asyncio.Semaphore(0)

    async def endless() -> AsyncIterator[bytes]:
        yield b" " * (1 << 20)
        begun.release()
        await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(api.client.post("/inject", data=endless())) for _ in range(8)]
    for _ in tasks[:2]:
        await begun.acquire()
    large = asyncio.ensure_future(api.client.post("/inject", data=b" " * (1 << 20)))
    for _ in range(20):
        assert (await api.review(recorded("create")))["response"]["allowed"]
    assert not large.done()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (await large).status == 400


async def test_other_versions_are_told_which_one_is_spoken(api: Api) -> None:
    """An answer in a version that was not asked for would be misread."""
    response = await api.client.post("/inject", json=recorded("v1beta1"))
    assert response.status == 400
    assert "set admissionReviewVersions to [v1]" in await response.text()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/inject", 405), ("POST", "/", 404)])
async def test_other_doors_are_closed(api: Api, method: str, path: str, status: int) -> None:
    """And whoever knocks does not learn which software is behind them."""
    response = await api.client.request(method, path)
    assert response.status == status
    assert response.headers["Server"] == "backstay"
    assert api.results() == {}


async def test_a_defect_is_a_failure(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the trace, the answer has none of it."""
    api.maps.failure = ZeroDivisionError("secret")
    response = await api.client.post("/inject", json=recorded("create-config-map"))
    assert response.status == 500
    assert "secret" not in await response.text()
    assert api.results() == {"failed": 1}
    assert caplog.records[-1].exc_info is not None


# --- around it --------------------------------------------------------------------------------------------------


async def test_the_log_has_a_line_for_each_pod_that_asked(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """By its name and namespace; of those that did not ask, one for who debugs."""
    caplog.set_level(logging.DEBUG, "backstay")
    for name in ("create", "create-host-network", "create-misspelt", "create-unannotated"):
        await api.review(recorded(name))
    found = [
        (record.levelname, record.msg, vars(record)["pod"]) for record in caplog.records if record.name == "backstay"
    ]
    pod = "agent-6d4cf56db6-*"
    levels = [("INFO", "injected"), ("INFO", "skipped"), ("WARNING", "refused"), ("DEBUG", "skipped")]
    assert found == [(level, message, pod) for level, message in levels]


async def test_each_review_is_timed(api: Api) -> None:
    """Whatever becomes of it; what is none is not, since it takes as long as a stranger likes."""
    await api.review(recorded("create"))
    api.maps.failure = Unreadable("the API server answered 403: forbidden")
    await api.client.post("/inject", json=recorded("create-config-map"))
    await api.client.post("/inject", data=b"")
    assert sum(api.registry.histogram("backstay_injector_review_duration_seconds").counts) == 2


async def test_at_the_end_each_answer_ends_its_connection(api: Api) -> None:
    """So that the API server goes to another pod with the next one."""
    assert (await api.client.post("/inject", json=recorded("create"))).headers.get("Connection") != "close"
    api.webhook.is_ending = True
    assert (await api.client.post("/inject", json=recorded("create"))).headers["Connection"] == "close"
