"""A cluster in small, with faulty vendors, that two real Prometheus servers watch. For tests of monitoring.

agents > Backstay (native sidecar of an injected pod) > vendors        injector (pod of the chart) < reviews
             |                                                             |
             '----- by the chart's PodMonitors, or by annotations of pods: Prometheus < dashboards, rules

Pods are found through the API server that a test plays. They run nowhere: their ports are those of processes that were
started here, and their address is the loopback interface.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import trustme

from proxy.kubernetes.settings import defaults
from proxy.kubernetes.supply import carried
from tests.support import helm, rules
from tests.support.faulty import FaultyVendors, configuration
from tests.support.grafana import Viewer
from tests.support.injected import Pod, a_pod, injected
from tests.support.ledger import Bank
from tests.support.pods_api import PodsApi
from tests.support.process import PATIENCE, Document, Sidecar, write
from tests.support.prometheus import Prometheus, running
from tests.support.reviews import recorded
from tests.support.scraping import Job, by_http, of_annotations, of_pod_monitor

NAMESPACE: Final = "prod"
POD: Final = "agent-7d9c"
INJECTOR_POD: Final = "backstay-injector-5b8f"
VALUES: Final = {
    "config": {
        "version": 1,
        "listen": {"agent": "127.0.0.1:7070", "metrics": "0.0.0.0:9464"},
        "apis": {"github": {"url": "https://api.github.com"}},
    },
    "podMonitor": {"enabled": True},
    "scrapeAnnotations": True,
}
_ROUNDS: Final = 2


class Injector(Sidecar):
    """``backstay injector`` as a process."""

    verb: ClassVar[str] = "injector"

    @classmethod
    def on(cls, folder: Path, config: Path) -> Injector:
        """On free ports, with a certificate of the test's."""
        folder.mkdir()
        settings, tls = folder / "settings.yaml", folder / "tls"
        settings.write_text("image: backstay:1\n")
        tls.mkdir()
        certificate = trustme.CA().issue_cert("backstay-injector.prod.svc")
        certificate.private_key_pem.write_to_path(tls / "tls.key")
        certificate.cert_chain_pems[0].write_to_path(tls / "tls.crt")
        places = {"settings": settings, "config": config, "tls": tls, "linger": "0s"}
        words = [str(word) for name, value in places.items() for word in (f"--{name}", value)]
        return cls(folder, options=[*words, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])

    def review(self, name: str) -> int:
        """Have it look at a recorded review; returns the status."""
        untrusting = ssl.create_default_context()
        untrusting.check_hostname, untrusting.verify_mode = False, ssl.CERT_NONE
        url = f"https://127.0.0.1:{self.ports['webhook']}/inject"
        return httpx.post(url, json=recorded(name), verify=untrusting, timeout=PATIENCE, trust_env=False).status_code


@dataclass(frozen=True)
class Scene:
    """What is there when the traffic is over."""

    sidecar: Sidecar
    by_monitor: Viewer
    by_annotations: Viewer


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Start all of it, let it go through its half minute, and hand it over."""
    start = time.time() - 2
    with ExitStack() as stack:
        bank, api = stack.enter_context(Bank()), stack.enter_context(PodsApi())
        content, file = configuration(folder, bank), folder / "backstay.yaml"
        write(file, content)
        sidecar = started(stack, Sidecar(folder, file))
        placed = folder / "placed.yaml"
        write(placed, elsewhere(content, sidecar))
        injector = started(stack, Injector.on(folder / "injector", placed))
        api.add(injected_pod(placed), name=POD, namespace=NAMESPACE)
        api.add(injector_pod(injector), name=INJECTOR_POD, namespace=NAMESPACE)
        by_monitor = Prometheus(folder / "by-monitor", [by_http(job) for job in jobs_of_monitors(api)], rules.RULES)
        by_annotations = Prometheus(folder / "by-annotations", [by_http(of_annotations(api.url))])
        servers = by_monitor, by_annotations
        stack.enter_context(running(*servers))
        happen(FaultyVendors(sidecar, bank, file, content), injector, servers)
        end = time.time()
        yield Scene(sidecar, Viewer(by_monitor, start, end), Viewer(by_annotations, start, end))


def started(stack: ExitStack, process: Sidecar) -> Any:
    """A process that ends with the test; what it printed is shown if that does not go well."""
    stack.callback(process.stop)
    try:
        return process.start()
    except AssertionError:
        raise AssertionError(process.transcript()) from None


def happen(vendors: FaultyVendors, injector: Injector, servers: tuple[Prometheus, ...]) -> None:
    """Each server sees every counter twice: what a rate is worked out from."""
    for server in servers:
        server.wait_up(2)
    for number in range(1, _ROUNDS + 1):
        vendors.round(number)
        for name in ("create", "create-unannotated", "create-misspelt"):
            assert injector.review(name) == 200
        since = time.time()
        for server in servers:
            server.wait_scraped(since)


# --- pods, and how they are found --------------------------------------------------------------------------


def elsewhere(content: Document, sidecar: Sidecar) -> Document:
    """The same configuration as a pod may have it: with the ports that the process has taken, and without a secret."""
    listen = {"agent": f"127.0.0.1:{sidecar.ports['agent']}", "metrics": f"0.0.0.0:{sidecar.ports['metrics']}"}
    return {**deepcopy(content), "listen": listen, "admin_token": "${env:BACKSTAY_ADMIN_TOKEN}"}


def injected_pod(config: Path, **annotations: Any) -> Pod:
    """An agent's pod with its sidecar, as the webhook gives it, scrape annotations and all."""
    installation = replace(defaults("backstay:1"), scrape_annotations=True)
    return injected(a_pod(**annotations), carried([config]), installation)


def injector_pod(injector: Injector) -> Pod:
    """The pod of the chart's Deployment, at the port of the process."""
    template = helm.one(helm.rendered(VALUES), "Deployment", "backstay-injector")["spec"]["template"]
    return at_port(template, injector.ports["metrics"])


def at_port(template: Mapping[str, Any], port: int) -> Pod:
    """A pod whose metrics are where a process of this test serves them."""
    pod = deepcopy(dict(template))
    for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        for each in container.get("ports", []):
            each["containerPort"] = port if each["name"] == "bs-metrics" else each["containerPort"]
    pod["metadata"]["annotations"]["prometheus.io/port"] = str(port)
    return pod


def jobs_of_monitors(api: PodsApi) -> list[Job]:
    """What the operator makes of the chart's PodMonitors."""
    monitors = [each for each in helm.rendered(VALUES) if each["kind"] == "PodMonitor"]
    assert len(monitors) == 2
    return [job for monitor in monitors for job in of_pod_monitor(monitor, api.url)]
