"""proxy/kubernetes/cluster.py: one question to an API server, over TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from proxy.clock import Clock
from proxy.kubernetes.cluster import ApiServer, ConfigMaps, Unreadable
from proxy.kubernetes.model import Refused
from tests.support import virtual
from tests.support.api_server import Answer, FakeApi
from tests.support.authority import DAY, as_python_3_13, made, server_of
from tests.support.virtual import START


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeApi]:
    api = FakeApi(tmp_path / "account")
    runner = await api.start()
    yield api
    await runner.cleanup()


def maps(api: FakeApi, clock: Clock | None = None) -> ConfigMaps:
    server = ApiServer(f"https://127.0.0.1:{api.port}", api.account)
    return ConfigMaps(clock or Clock(asyncio.get_running_loop()), server)


async def test_a_config_map_is_read(api: FakeApi) -> None:
    """Its texts, of the namespace and name that were asked for, with the pod's own token."""
    assert await maps(api).data("agents", "ways.of-agents") == {"backstay.yaml": "version: 1\n"}
    assert api.asked == ["/api/v1/namespaces/agents/configmaps/ways.of-agents Bearer first"]


async def test_token_and_roots_are_read_each_time(api: FakeApi) -> None:
    """Kubernetes rotates the one by the hour, and the other at some time."""
    found = maps(api)
    await found.data("n", "x")
    (api.account / "token").write_text("second")
    await found.data("n", "x")
    assert [each.rpartition(" ")[2] for each in api.asked] == ["first", "second"]
    trustme.CA().cert_pem.write_to_path(api.account / "ca.crt")
    with pytest.raises(Unreadable, match=r"the API server cannot be asked: .*certificate verify failed"):
        await found.data("n", "x")


async def test_an_authority_without_key_identifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As clusters have it, EKS among them: also with a Python that asks for them, which the image has."""
    as_python_3_13(monkeypatch)
    api = FakeApi(tmp_path / "account")
    authority = made("kubernetes", until=time.time() + DAY)
    (api.account / "ca.crt").write_bytes(authority.pem)
    certificate = made("kube-apiserver", ca=False, issuer=authority, until=time.time() + DAY, host="127.0.0.1")
    api.tls = server_of(certificate, tmp_path)
    runner = await api.start()
    assert await maps(api).data("agents", "ways") == {"backstay.yaml": "version: 1\n"}
    await runner.cleanup()


@pytest.mark.parametrize("document", [{"kind": "ConfigMap"}, {"data": None}, {"data": {}}, {"data": {"n": 1}}])
async def test_a_config_map_without_texts(api: FakeApi, document: dict[str, Any]) -> None:
    """Has none; what that means is said elsewhere."""
    api.answer = lambda: web.json_response(document)
    assert await maps(api).data("n", "x") == {}


async def test_a_config_map_that_is_not_there(api: FakeApi) -> None:
    """Is the mistake of the pod that names it."""
    api.answer = lambda: web.json_response({"kind": "Status", "message": 'configmaps "x" not found'}, status=404)
    with pytest.raises(Refused, match="there is no ConfigMap 'x' in namespace 'n'; make it, or correct"):
        await maps(api).data("n", "x")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.json_response({"message": "forbidden: who"}, status=403), "answered 403: forbidden: who"),
        (lambda: web.Response(status=503), "answered 503: without a word"),
        (
            lambda: web.Response(status=302, headers={"Location": "https://elsewhere.example/"}),
            "answered 302: without a word",
        ),
        (lambda: web.json_response([]), "something else than a ConfigMap"),
        (lambda: web.json_response({"data": []}), "something else than a ConfigMap"),
        (lambda: web.json_response({"data": "text"}), "something else than a ConfigMap"),
        (lambda: web.Response(text="[" * 100_000), "something else than a ConfigMap"),
        (lambda: web.Response(body=b" " * (5 << 20)), "its answer has more than 4194304 bytes"),
    ],
)
async def test_any_other_answer_is_a_failure(api: FakeApi, answer: Answer, error: str) -> None:
    """It says nothing about the ConfigMap; no redirection is followed with the token."""
    api.answer = answer
    with pytest.raises(Unreadable, match=error):
        await maps(api).data("n", "x")
    assert len(api.asked) == 1


@pytest.mark.parametrize(("namespace", "name"), [("n", "../secrets/x"), ("", "x"), ("n", "X"), ("n", ""), ("n/x", "y")])
async def test_what_is_no_name_is_asked_of_nobody(api: FakeApi, namespace: str, name: str) -> None:
    """It would be another question."""
    with pytest.raises(Refused, match="is no name of a ConfigMap"):
        await maps(api).data(namespace, name)
    assert api.asked == []


async def test_a_server_that_is_not_there(api: FakeApi, tmp_path: Path) -> None:
    """Nor a token; nor a cluster at all."""
    clock = Clock(asyncio.get_running_loop())
    for server in (ApiServer("https://127.0.0.1:1", api.account), ApiServer("https://127.0.0.1:1", tmp_path / "none")):
        with pytest.raises(Unreadable, match="the API server cannot be asked: "):
            await ConfigMaps(clock, server).data("n", "x")
    nowhere = ConfigMaps(clock, None)
    with pytest.raises(Unreadable, match="this process runs in no cluster"):
        await nowhere.data("n", "x")
    assert str(nowhere) == "<ConfigMaps of None>"


def test_a_server_that_does_not_answer_in_time(tmp_path: Path) -> None:
    """Two seconds are all that a pod waits for it."""

    async def scenario(clock: Clock) -> None:
        api = FakeApi(tmp_path / "account")
        runner = await api.start()
        api.goes_on.clear()
        with pytest.raises(Unreadable, match="did not answer within 2 s"):
            await maps(api, clock).data("n", "x")
        assert clock.now() == pytest.approx(START + 2.0, abs=0.5)
        api.goes_on.set()
        await virtual.turn(10)
        await runner.cleanup()

    virtual.run(scenario)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://10.0.0.1:6443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1"}, "https://[fd00::1]:443"),
        ({}, None),
    ],
)
def test_a_pod_knows_where_its_server_is(env: dict[str, str], url: str | None, tmp_path: Path) -> None:
    """By its environment; outside of a cluster there is none."""
    assert ApiServer.of_pod(env, tmp_path) == (None if url is None else ApiServer(url, tmp_path))
