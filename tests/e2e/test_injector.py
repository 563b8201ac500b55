"""The webhook as a process: over TLS, with certificates and configurations that change, to its end."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

import httpx
import pytest
import trustme

from tests.support.api_server import FakeApi
from tests.support.injected import YAML
from tests.support.process import PATIENCE, Sidecar, command, wait_until
from tests.support.reviews import Document, patched, recorded
from tests.support.valid_pods import faults

NAME: Final = "backstay-injector.backstay.svc"
DAY: Final = dt.timedelta(days=1)


class Injector(Sidecar):
    """``python -m proxy injector`` on free ports, with the volume of a Secret for its certificate."""

    verb: ClassVar[str] = "injector"

    def __init__(self, folder: Path, *options: str) -> None:
        self.authority = trustme.CA()
        self.tls, self.config, self.settings = folder / "tls", folder / "config", folder / "settings.yaml"
        self._swaps = 0
        self.tls.mkdir()
        self.config.mkdir()
        self.swap(*self.pair(days=90))
        (self.config / "backstay.yaml").write_text(YAML)
        self.settings.write_text("image: backstay:1\n")
        ways = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--service-account", str(folder / "account")]
        made_of = ["--settings", str(self.settings), "--config", str(self.config), "--tls", str(self.tls)]
        super().__init__(folder, options=[*made_of, *ways, *options])

    def pair(self, days: int) -> tuple[bytes, bytes]:
        now = dt.datetime.now(dt.UTC)
        found = self.authority.issue_cert(NAME, "127.0.0.1", not_before=now - DAY, not_after=now + days * DAY)
        return b"".join(each.bytes() for each in found.cert_chain_pems), found.private_key_pem.bytes()

    def swap(self, certificate: bytes, key: bytes) -> None:
        """As the kubelet does it: a new folder, and a symlink to it that replaces the one before."""
        self._swaps += 1
        version = self.tls / f"..version_{self._swaps}"
        version.mkdir()
        for name, data in (("tls.crt", certificate), ("tls.key", key)):
            (version / name).write_bytes(data)
            if not (self.tls / name).is_symlink():
                (self.tls / name).symlink_to(f"..data/{name}")
        (self.tls / "..data_tmp").symlink_to(version.name)
        (self.tls / "..data_tmp").rename(self.tls / "..data")

    def client(self) -> httpx.AsyncClient:
        """An API server's: it knows the authority, and keeps connections."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return httpx.AsyncClient(
            verify=context, base_url=f"https://127.0.0.1:{self.ports['webhook']}", timeout=PATIENCE
        )

    def certificate(self) -> str:
        """What a new connection is shown, PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.ports["webhook"]), timeout=PATIENCE)

    def is_closed(self) -> bool:
        """Whether it takes no more connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.ports["webhook"])) != 0

    def is_ready(self) -> bool:
        return self.get("/readyz", "metrics").status_code == 200


Start: TypeAlias = Callable[..., Injector]


@pytest.fixture
def start(tmp_path: Path, _sidecars: list[Sidecar]) -> Iterator[Start]:
    """Start one that lingers no second, unless it is told."""
    started: list[Injector] = []

    def with_options(*options: str) -> Injector:
        injector = Injector(tmp_path, *(options or ("--linger", "0")))
        started.append(injector)
        _sidecars.append(injector)
        injector.start()
        return injector

    yield with_options
    for injector in started:
        injector.stop()
        _sidecars.remove(injector)


async def ask(client: httpx.AsyncClient, name: str = "create") -> Document:
    response = await client.post("/inject", json=recorded(name))
    assert response.status_code == 200, response.text
    answer: Document = response.json()
    return answer


def leaf(pem: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(
        ssl.PEM_cert_to_DER_cert(pem.decode().split("-----END")[0] + "-----END CERTIFICATE-----")
    )


async def test_a_review_over_tls(start: Start) -> None:
    """As the API server sends it: the pod is valid, carries the configuration, and is counted."""
    injector = start()
    async with injector.client() as client:
        answer = await ask(client)
    pod = patched(recorded("create"), answer)
    assert faults(pod) == []
    assert pod["metadata"]["annotations"]["config.backstay.dev/backstay.yaml"] == YAML
    assert injector.values("backstay_injector_reviews_total", "result") == {"injected": 1}
    assert injector.value("backstay_injector_review_duration_seconds_count") == 1
    assert injector.is_ready()
    injector.terminate()
    assert injector.wait() == 0


async def test_a_renewed_certificate_is_shown(start: Start) -> None:
    """To new connections, without a restart; what is connected goes on. The gauge follows."""
    injector = start()
    before = injector.value("backstay_certificate_expiry_seconds", certificate="injector")
    new = injector.pair(days=30)
    async with injector.client() as client:
        await ask(client)
        injector.swap(*new)
        injector.wait_log("certificate renewed")
        await ask(client)
    assert injector.certificate() == leaf(new[0])
    assert 0 < injector.value("backstay_certificate_expiry_seconds", certificate="injector") < before
    assert injector.lines("the certificate of the webhook expires soon") == []


async def test_a_bad_certificate_changes_nothing(start: Start) -> None:
    """A key of another, and half of a file: the old one is shown, until there is a good one."""
    injector = start()
    first, second = injector.certificate(), injector.pair(days=5)
    injector.swap(second[0], injector.pair(days=5)[1])
    line = injector.wait_log("the new certificate is bad, the old one is still shown")
    assert "the key does not belong to the certificate" in line["problem"]
    injector.swap(second[0][:200], second[1])
    injector.wait_log("the new certificate is bad, the old one is still shown", 2)
    assert injector.certificate() == first
    injector.swap(*second)
    injector.wait_log("the certificate of the webhook expires soon")
    assert injector.certificate() == leaf(second[0])


async def test_a_changed_configuration_is_offered(start: Start) -> None:
    """As are changed settings; what cannot be used changes nothing, and the gauge says so."""
    injector = start()
    file, current = injector.config / "backstay.yaml", "backstay_config_last_reload_successful"
    file.write_text("version: 2\n")
    assert str(file) in str(injector.wait_log("reload failed, the old configuration stays in force")["problems"])
    assert injector.value(current) == 0
    file.write_text(YAML + "log: {level: debug}\n")
    injector.wait_log("reloaded")
    injector.settings.write_text("image: backstay:2\n")
    injector.wait_log("reloaded", 2)
    async with injector.client() as client:
        pod = patched(recorded("create"), await ask(client))
    assert pod["metadata"]["annotations"]["config.backstay.dev/backstay.yaml"].endswith("debug}\n")
    assert "'image': 'backstay:2'" in str(pod)
    assert (injector.value(current), injector.lines("reload failed")) == (1, [])


async def test_sighup_reads_all_again(start: Start) -> None:
    """For whoever does not want to wait."""
    injector = start()
    injector.signal(signal.SIGHUP)
    injector.wait_log("reloaded")
    injector.wait_log("certificate renewed")


# --- the API server ----------------------------------------------------------------------------------------------


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The cluster's, which the injector asks for ConfigMaps."""
    api = FakeApi(tmp_path / "account", {"backstay.yaml": YAML})
    runner = await api.start()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
    yield api
    await runner.cleanup()


async def test_a_config_map_is_asked_for(api: FakeApi, start: Start) -> None:
    """Of the API server that the pod knows of, with the ServiceAccount's token."""
    injector = start()
    async with injector.client() as client:
        answer = await ask(client, "create-config-map")
    assert faults(patched(recorded("create-config-map"), answer)) == []
    assert api.asked == ["/api/v1/namespaces/agents/configmaps/agent-config Bearer first"]


async def test_no_answer_where_no_config_map_can_be_read(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for want of a cluster: 500, so that failurePolicy decides."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    injector = start()
    async with injector.client() as client:
        response = await client.post("/inject", json=recorded("create-config-map"))
    assert response.status_code == 500
    assert injector.values("backstay_injector_reviews_total", "result") == {"failed": 1}


# --- the end --------------------------------------------------------------------------------------------------------


async def test_an_end_loses_no_review(start: Start) -> None:
    """Not ready at the first signal, it answers on; each answer ends its connection, and new ones are taken."""
    injector = start("--linger", "600")
    answered = 0

    async def load(client: httpx.AsyncClient) -> None:
        nonlocal answered
        while not injector.lines("ending"):
            await ask(client)
            answered += 1
        for _ in range(5):
            response = await client.post("/inject", json=recorded("create"))
            assert (response.status_code, response.headers["Connection"]) == (200, "close")

    async with injector.client() as client:
        loads = [asyncio.create_task(load(client)) for _ in range(8)]
        await asyncio.sleep(0)
        while answered < 20:
            await asyncio.wait(loads, timeout=0.01)
            assert not any(each.done() for each in loads)
        injector.terminate()
        await asyncio.gather(*loads)
        assert not injector.is_ready()
    assert injector.values("backstay_injector_reviews_total", "result") == {"injected": answered + 8 * 5}


async def test_a_review_under_way_is_answered_at_the_end(api: FakeApi, start: Start) -> None:
    """Also without lingering: the process waits for it."""
    injector = start()
    api.goes_on.clear()
    async with injector.client() as client:
        asking = asyncio.create_task(ask(client, "create-config-map"))
        while not api.asked:
            await asyncio.wait([asking], timeout=0.01)
            assert not asking.done()
        injector.terminate()
        await asyncio.to_thread(wait_until, injector.is_closed)
        api.goes_on.set()
        assert "patch" in (await asking)["response"]
    assert injector.wait() == 0


def test_a_second_signal_ends_at_once(start: Start) -> None:
    """Whoever is in a hurry says so; the exit code tells."""
    injector = start("--linger", "3600")
    injector.terminate()
    injector.wait_log("ending")
    injector.terminate()
    assert injector.wait() == 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """With the option that says another."""
    injector = Injector(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command("injector", *[address if each == "127.0.0.1:0" else each for each in injector.options])
    assert done.returncode == 1
    assert done.stderr == f"backstay: {address}: Address already in use; choose another --listen or --metrics\n"
