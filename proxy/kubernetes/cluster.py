"""The one question to the API server: what a ConfigMap says. Called by webhook.py.

One GET, with the token of the pod's ServiceAccount. Token and roots are read anew each time, since Kubernetes rotates
them; no connection is kept, and nothing that was read: what counts is what the ConfigMap says when a pod is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from proxy.clock import Clock
from proxy.kubernetes.model import Refused
from proxy.wire.tls import client_context

_PATIENCE: Final = 2.0  # seconds for all of it; the API server that asks us waits meanwhile
_LARGEST: Final = 4 << 20  # bytes; a ConfigMap has 1 MiB, and JSON may need two for one
_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class Unreadable(Exception):
    """The API server did not say what a ConfigMap has: a sentence. Not the fault of whoever makes the pod."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where the API server is, and the folder with the ``token`` of a ServiceAccount and the server's ``ca.crt``."""

    url: str
    account: Path

    @classmethod
    def of_pod(cls, env: Mapping[str, str], account: Path) -> ApiServer | None:
        """As a pod finds it; None outside of a cluster."""
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            return None
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", account)


class ConfigMaps:
    """The ConfigMaps of a cluster. ``server``: None if there is no cluster."""

    def __init__(self, clock: Clock, server: ApiServer | None) -> None:
        self._clock = clock
        self._server = server

    async def data(self, namespace: str, name: str) -> dict[str, str]:
        """The texts in a ConfigMap, by key.

        Raises:
            Refused: there is no such ConfigMap.
            Unreadable: it is not known whether there is.
        """
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(namespace):
            raise Refused(f"{name[:64]!r} is no name of a ConfigMap; correct backstay.dev/config")
        if self._server is None:
            raise Unreadable("this process runs in no cluster: KUBERNETES_SERVICE_HOST is not set")
        late = Unreadable(f"the API server did not answer within {_PATIENCE:g} s")
        try:
            status, body = await self._clock.wait(_get(self._server, namespace, name), _PATIENCE, late)
        except (OSError, aiohttp.ClientError, ValueError) as error:
            raise Unreadable(f"the API server cannot be asked: {str(error) or type(error).__name__}") from error
        if status == 404:
            raise Refused(
                f"there is no ConfigMap {name!r} in namespace {namespace!r}; make it, or correct backstay.dev/config"
            )
        if status != 200:
            raise Unreadable(f"the API server answered {status}: {_message(body)}")
        return _texts(body)

    def __repr__(self) -> str:
        return f"<ConfigMaps of {self._server}>"


async def _get(server: ApiServer, namespace: str, name: str) -> tuple[int, bytes]:
    """Raises OSError, ClientError, ValueError."""
    token = (server.account / "token").read_text().strip()
    context = client_context(ca_file=str(server.account / "ca.crt"))
    url = f"{server.url}/api/v1/namespaces/{quote(namespace)}/configmaps/{quote(name)}"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "backstay-injector"}
    unlimited = aiohttp.ClientTimeout(total=None, sock_connect=None)  # the clock's is the limit
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=unlimited, headers=headers) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        return response.status, await _body(response)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST:
            raise ValueError(f"its answer has more than {_LARGEST} bytes")
    return bytes(body)


def _texts(body: bytes) -> dict[str, str]:
    document = _json(body)
    data = document.get("data") if isinstance(document, dict) else ()
    if data is not None and not isinstance(data, dict):
        raise Unreadable("the API server answered with something else than a ConfigMap")
    return {str(key): text for key, text in (data or {}).items() if isinstance(text, str)}


def _message(body: bytes) -> str:
    """Of a Status, as the API server explains itself."""
    document = _json(body)
    message = document.get("message") if isinstance(document, dict) else None
    return str(message)[:512] if message else "without a word"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
