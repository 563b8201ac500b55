"""Runs unmodified programs, one for each client, alone and caught by Backstay, and writes docs/clients.md.

``make test-clients``, or:

    python -m tests.clients.run [--only TEXT] [--modes alone,forward,least,transparent]

In each mode every program runs with the same network, vendor and arguments. What differs are its variables, and whether
Backstay is there (``variables_of``). Needs root, for namespaces and users; one program at a time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.clients import judge
from tests.clients.catalogue import APIS, CLIENTS, STEPS, Client
from tests.clients.document import document, short
from tests.clients.page import Found, Results, render
from tests.clients.vendor import BAD
from tests.clients.world import PROGRAMS, ROOT, TRANSPARENT_PORT, World, world
from tests.support.process import Sidecar, wait_until

INSTALLED: Final = ROOT / ".cache/clients"
PAGE: Final = ROOT / "docs/clients.md"
MODES: Final = ("alone", "forward", "least", "transparent")
LISTEN: Final = {
    "agent": "127.0.0.1:7070",
    "transparent": f"127.0.0.1:{TRANSPARENT_PORT}",
    "metrics": "127.0.0.1:9464",
}


def trust_of(bundle: Path, folder: Path) -> dict[str, str]:
    """What a program alone needs to trust the vendor: no more than a company's own CA asks of it."""
    wgetrc = folder / "wgetrc"
    wgetrc.write_text(f"ca_certificate = {bundle}\n")
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "BACKSTAY_CA")
    return {**dict.fromkeys(names, str(bundle)), "SYSTEM_WGETRC": str(wgetrc)}


def command_of(client: Client, folder: Path) -> tuple[list[str | Path], Path]:
    """The command, and the folder in which the agent has its program."""
    if client.runtime == "system":
        return ["sh", PROGRAMS / client.program], folder
    if client.runtime == "python":
        return [INSTALLED / "python/bin/python", PROGRAMS / client.program], folder
    image = INSTALLED / client.runtime
    for program in PROGRAMS.glob("*.mjs"):  # modules are sought beside the program
        shutil.copy(program, image)
    return [image / "node_modules/node/bin/node", client.program], image


def version_of(client: Client) -> str:
    """As the client says itself."""
    match client.runtime:
        case "system":
            return next(word for word in _said(client.package, "--version").split() if word[0].isdigit())
        case "python":
            ask = f"import importlib.metadata as m; print(m.version({client.package!r}))"
            if client.package == "python":
                ask = "import platform; print(platform.python_version())"
            return _said(INSTALLED / "python/bin/python", "-c", ask)
    package = INSTALLED / client.runtime / "node_modules" / client.package / "package.json"
    return str(json.loads(package.read_text())["version"])


def _said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(place: World, client: Client, variables: Mapping[str, str], *, caught: bool) -> Found:
    """The verdict on each step."""
    place.vendor.report()
    command, cwd = command_of(client, place.folder)
    printed = place.program(command, variables, cwd)
    counts = place.vendor.report()
    said = judge.read(printed)
    found = {
        step: judge.judge(step, said.get(step), counts, caught=caught) for step in STEPS if step not in client.without
    }
    if not said:
        found["output"] = printed[-1500:]
    return found


def variables_of(place: World, client: Client, mode: str) -> dict[str, str]:
    """What the program has in its environment.

    alone        what a company's own CA would ask of it
    forward      what `backstay env` prints
    least        of these, what the table says
    transparent  of these, those of trust; the shims only if it is trust that they are for
    """
    shims = bool(client.shim) if mode in {"forward", "least"} else client.shim == "trust"
    found = place.environment(*(("--shims", str(place.folder / "shims")) if shims else ()))
    if mode == "alone":
        loading = {name: found[name] for name in ("PYTHONPATH",) if name in found}
        return {**trust_of(place.folder / "authority/ca.pem", place.folder), **loading}
    if mode == "transparent":
        return {name: value for name, value in found.items() if "PROXY" not in name.upper()}
    if mode == "least":
        return {name: found[name] for name in (*client.caught_by, *client.trusts_by)}
    return found


@contextmanager
def made(place: World, mode: str) -> Iterator[Sidecar | None]:
    """What a mode needs in the pod."""
    if mode == "alone":
        yield None
        return
    with place.backstay() as sidecar:
        if mode != "transparent":
            yield sidecar
            return
        with place.redirected():
            yield sidecar


def refused(sidecar: Sidecar) -> bool:
    """Whether the circuit kept a call from the vendor. Its log comes by a pipe, later than the program's end."""
    with suppress(AssertionError):
        return wait_until(lambda: any(line["reason"] == "circuit_open" for line in sidecar.lines("access")), seconds=2)
    return False


def matrix(place: World, clients: Sequence[Client], modes: Sequence[str]) -> Results:
    """Every client in every mode, one at a time, each with a Backstay of its own."""
    results: Results = {}
    for mode in modes:
        for client in clients:
            with made(place, mode) as sidecar:
                found = run(place, client, variables_of(place, client, mode), caught=sidecar is not None)
                if sidecar is not None and found["breaker"] == "ok" and not refused(sidecar):
                    found["breaker"] = "the circuit refused no call"
            show(mode, client.label, found)
            results.setdefault(client.label, {})[mode] = found
    return results


def bad_certificates(place: World, modes: Sequence[str]) -> Results:
    """What curl is told of vendors that do not prove who they are."""
    results: Results = {}
    curl = Client("curl", "system", "with_curl.sh", "curl", (), ())
    for mode in modes:
        if mode not in {"forward", "transparent"}:
            continue
        with made(place, mode):
            for host in BAD:
                variables = variables_of(place, curl, mode)
                command = ["curl", "-sS", "-w", " %{http_code}", f"https://{host}/v1/plain"]
                said = place.program(command, variables, place.folder)
                found = {"502": judge.refused_for_its_certificate(said)}
                show(mode, host, found)
                results.setdefault(host, {})[mode] = found
    return results


def show(mode: str, label: str, found: Found) -> None:
    """Print a line for what is as it should be, and more for what is not."""
    bad = {step: verdict for step, verdict in found.items() if verdict != "ok"}
    sys.stdout.write(f"{mode:<12} {label:<28} {'FAILED' if bad else 'ok'}\n")
    for step, verdict in bad.items():
        sys.stdout.write(f"    {step}: {verdict}\n")
    sys.stdout.flush()


def main() -> None:
    """Run what is asked for; exits with 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="clients whose runtime and name have this in them")
    parser.add_argument("--modes", default=",".join(MODES), help="the page is written if nothing is left out")
    asked = parser.parse_args()
    clients = [client for client in CLIENTS if asked.only in client.label]
    modes = asked.modes.split(",")
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), [*APIS.values(), *BAD]) as place:
        tls = {"ca_file": str(place.folder / "authority/ca.pem")}
        hosts = APIS | short(BAD)
        place.configure(document(place.folder, hosts, lambda host: {"url": f"https://{host}", "tls": tls}, LISTEN))
        results = matrix(place, clients, modes)
        certificates = bad_certificates(place, modes)
    if clients == list(CLIENTS) and modes == list(MODES):
        PAGE.write_text(render(results, certificates, {client.label: version_of(client) for client in clients}))
    modes_of = [*results.values(), *certificates.values()]
    verdicts = [verdict for found in modes_of for each in found.values() for verdict in each.values()]
    failed = sum(verdict != "ok" for verdict in verdicts)
    sys.stdout.write(f"{len(verdicts) - failed} passed, {failed} failed\n")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
