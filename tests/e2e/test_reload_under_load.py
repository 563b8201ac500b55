"""A new configuration while agents call: nothing is lost, nothing forgotten, and a bad one changes nothing."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.load import Load
from tests.support.process import Document, Sidecar, closed_port, document, wait_until, write
from tests.support.vendor import Vendor

RELOADS: Final = "backstay_config_reloads_total"


@pytest.fixture
def nowhere() -> Iterator[str]:
    with closed_port() as port:
        yield f"http://localhost:{port}"


def two_apis(vendor: Vendor, nowhere: str, **more: Any) -> Document:
    """One that is called without a pause, and one whose circuit is going to be open."""
    down = {"url": nowhere, "breaker": {"consecutive": 2, "open": "60s"}}
    return document({"shop": {"url": vendor.url}, "down": down}, **more)


def open_circuit(sidecar: Sidecar) -> None:
    assert [sidecar.get("/down/").status_code for _ in range(3)] == [502, 502, 503]


def wait_setting(sidecar: Sidecar, value: object, *path: str) -> None:
    """Wait until it is in force. Reloads are not counted: the watcher of the file may make one more."""

    def found() -> bool:
        shown = sidecar.admin("GET", "/v1/config").json()
        return bool(reduce(getitem, path, shown) == value)

    wait_until(found, f"{'.'.join(path)} being {value}")


def nothing_was_lost(load: Load, sidecar: Sidecar) -> None:
    assert load.lost == []
    assert load.refused == 0
    assert set(load.answers) == {200}
    assert sidecar.value("backstay_requests_total", api="shop", code="200") == load.total


def test_reloads_by_signal_lose_no_request_and_close_no_circuit(
    start: Start, vendor: Vendor, nowhere: str, tmp_path: Path
) -> None:
    """Policies, pool, limits and apis change under sixteen busy agents."""
    sidecar = start(two_apis(vendor, nowhere))
    open_circuit(sidecar)
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo") as load:
        for number in range(1, 7):
            content = two_apis(vendor, nowhere, limits={"connections": 1000 + number})
            content["apis"]["shop"] |= {"connections": {"max": 1 + number * 5}, "retry": {"attempts": number}}
            content["apis"][f"more{number}"] = {"url": nowhere, "mount": f"/more{number}"}
            write(tmp_path / "backstay.yaml", content)
            sidecar.signal(signal.SIGHUP)
            wait_setting(sidecar, 1000 + number, "limits", "connections")
            load.more(100)
            assert sidecar.breaker_state("down") == "open"
            assert sidecar.get(f"/more{number}/").json()["reason"] == "connect"
    nothing_was_lost(load, sidecar)
    assert sidecar.get("/down/").json()["reason"] == "circuit_open"
    assert sidecar.get("/more1/").json()["reason"] == "no_api"


def test_an_api_moves_to_another_address_under_load(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """Calls under way end where they began; the next go to the new vendor."""
    with Vendor() as other:
        sidecar = start(document({"shop": {"url": vendor.url}}))
        hanging = sidecar.connect()
        hanging.sendall(b"GET /shop/gate/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: vendor.seen("running", "gate"), "the call arriving")
        with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo") as load:
            for vendor_now in (other, vendor, other):
                write(tmp_path / "backstay.yaml", document({"shop": {"url": vendor_now.url}}))
                sidecar.signal(signal.SIGHUP)
                wait_setting(sidecar, vendor_now.url, "apis", "shop", "url")
                vendor_now.forget()
                load.more(100)
                assert len(vendor_now.calls) >= 100
        nothing_was_lost(load, sidecar)
        vendor.release()
        assert hanging.recv(65536).startswith(b"HTTP/1.1 200 OK")
        hanging.close()


def test_a_changed_file_is_noticed(start: Start, vendor: Vendor, nowhere: str, tmp_path: Path) -> None:
    """No signal is needed, neither for a file that vanishes nor for one that comes back with another content."""
    sidecar = start(two_apis(vendor, nowhere))
    open_circuit(sidecar)
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo", workers=4) as load:
        (tmp_path / "backstay.yaml").unlink()
        sidecar.wait_value(1, RELOADS, result="failed")
        load.more(20)
        write(tmp_path / "backstay.yaml", two_apis(vendor, nowhere, log={"access": "all"}))
        sidecar.wait_value(1, RELOADS, result="ok")
        load.more(20)
    nothing_was_lost(load, sidecar)
    assert sidecar.breaker_state("down") == "open"
    assert sidecar.lines("access")


def test_the_swap_of_a_config_map_is_noticed(
    launch: Callable[..., Sidecar], vendor: Vendor, nowhere: str, tmp_path: Path
) -> None:
    """Kubernetes swaps the symlink ``..data``, the files themselves never change."""
    mount = tmp_path / "mount"
    publish(mount, "..v1", two_apis(vendor, nowhere))
    (mount / "backstay.yaml").symlink_to("..data/backstay.yaml")
    sidecar = launch(mount / "backstay.yaml")
    open_circuit(sidecar)
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo", workers=4) as load:
        publish(mount, "..v2", two_apis(vendor, nowhere, limits={"connections": 77}))
        shutil.rmtree(mount / "..v1")
        sidecar.wait_value(1, RELOADS, result="ok")
        load.more(20)
    nothing_was_lost(load, sidecar)
    assert sidecar.breaker_state("down") == "open"
    assert sidecar.admin("GET", "/v1/config").json()["limits"]["connections"] == 77
    assert sidecar.value(RELOADS, result="failed") == 0


def publish(mount: Path, version: str, content: Document) -> None:
    """As a kubelet does it: a new folder, and one rename that puts it in force."""
    (mount / version).mkdir(parents=True)
    write(mount / version / "backstay.yaml", content)
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").replace(mount / "..data")


BAD: Final = {
    "apis.shop.url": "version: 1\napis: {shop: {url: nonsense, mount: shop}}\n",
    "2:1": "version: [1\n",
    "/no/such": "version: 1\napis: {shop: {url: https://a.test, mount: /a, tls: {ca_file: /no/such}}}\n",
    "holds no": "version: 1\napis: {shop: {url: https://a.test, mount: /a, tls: {ca_file: /dev/null}}}\n",
    "no api is configured": "",
}
"""Files that must not come into force, under a word of what is said about them."""


def test_a_bad_reload_keeps_the_old_configuration(start: Start, vendor: Vendor, nowhere: str, tmp_path: Path) -> None:
    """The metric and the log say what is wrong, and calls go on as before; a good file ends it."""
    sidecar = start(two_apis(vendor, nowhere))
    open_circuit(sidecar)
    digest = sidecar.admin("GET", "/v1/status").json()["config"]
    file = tmp_path / "backstay.yaml"
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo", workers=4) as load:
        for word, content in BAD.items():
            file.write_text(content)
            sidecar.signal(signal.SIGHUP)
            wait_complaint(sidecar, word)
            load.more(20)
    nothing_was_lost(load, sidecar)
    assert sidecar.breaker_state("down") == "open"
    assert sidecar.value("backstay_config_info", hash=digest) == 1
    assert sidecar.value(RELOADS, result="failed") >= len(BAD)
    assert sidecar.value(RELOADS, result="ok") == 0
    write(file, two_apis(vendor, nowhere))
    sidecar.signal(signal.SIGHUP)
    sidecar.wait_value(1, RELOADS, result="ok")


def wait_complaint(sidecar: Sidecar, word: str) -> None:
    """Wait until the log has an error about that."""

    def found() -> bool:
        lines = sidecar.lines("reload failed, the old configuration stays in force")
        return any(line["level"] == "error" and word in " ".join(line["problems"]) for line in lines)

    wait_until(found, f"an error about {word}")


def test_the_admin_api_reloads_and_says_what_is_wrong(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """An operator gets the problems as an answer."""
    sidecar = start(document({"shop": {"url": vendor.url}}))
    assert sidecar.admin("POST", "/v1/reload").json() == {"reloaded": True}
    (tmp_path / "backstay.yaml").write_text("version: 1\nlisten: {agnt: x}\n")
    answer = sidecar.admin("POST", "/v1/reload")
    assert answer.status_code == 422
    assert "'agnt'" in " ".join(answer.json()["problems"])
    assert sidecar.get("/shop/echo").status_code == 200
