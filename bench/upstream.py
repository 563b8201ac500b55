"""The upstream of the rows without faults: nginx on the load core, plain and TLS, with a CA of its own.

Called by run.py. ``Upstream`` says where it listens and which CA to trust.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.process import LOAD_CORE, answers, free_ports, running, wait_until

CONFIGS = Path(__file__).parent / "configs"
LARGE = 100 * 1024 * 1024
SIZES = tuple(round(200 * 512 ** (step / 255)) for step in range(256))
"""Bytes of the answers of ``/fresh/size/N``: 200 B to 100 KiB, each the same factor above the last."""
NGINX = "/usr/sbin/nginx"


@dataclass(frozen=True)
class Upstream:
    """Where calls end up."""

    port: int
    tls_port: int
    ca_file: Path


def render(template: str, values: dict[str, object]) -> str:
    """Fill the @NAME@ of a template of configs/."""
    text = (CONFIGS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def small_body() -> str:
    """A JSON answer of 180 bytes, as a small API call gives."""
    body = json.dumps({"id": "ch_3", "object": "charge", "amount": 2000, "status": "succeeded", "note": ""})
    return body.replace('"note": ""', '"note": "' + "x" * (180 - len(body)) + '"')


def certificates(folder: Path) -> Path:
    """Make a CA and a certificate for ``localhost``; returns the CA's file."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "upstream.key"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "upstream.pem"), append=True)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder / "ca.pem"


def write_bodies(folder: Path) -> None:
    """Write the answers that are files."""
    (folder / "large").write_bytes(bytes(LARGE))
    (folder / "sizes").mkdir()
    for size in SIZES:
        (folder / "sizes" / str(size)).write_bytes(b"z" * size)


def requests_at(port: int) -> int:
    """How many requests the upstream has had; asking counts as one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /calls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            status = answer.read().decode()
    # RFC 9112 ends the head with an empty line; nginx's page has the three totals in its third line.
    accepts_handled_requests = status.partition("\r\n\r\n")[2].splitlines()[2]
    return int(accepts_handled_requests.split()[2])


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """Run the upstream for as long as the block lasts."""
    port, tls_port = free_ports(2)
    ca_file = certificates(folder)
    write_bodies(folder)
    values = {"DIR": folder, "UPSTREAM_PORT": port, "UPSTREAM_TLS_PORT": tls_port}
    bodies = {"SMALL": small_body(), "HALF": "y" * 2048}
    config = folder / "upstream.conf"
    config.write_text(render("upstream.conf", {**values, **bodies}))
    argv = [NGINX, "-p", str(folder), "-c", str(config), "-e", "stderr"]
    with running("upstream", argv, folder, core=LOAD_CORE) as process:
        wait_until(lambda: answers(port), process)
        yield Upstream(port, tls_port, ca_file)
