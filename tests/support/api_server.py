"""An API server that knows one ServiceAccount, and answers as a test says. For tests of what asks it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import trustme
from aiohttp import web

from proxy.admin.api import serve

CONFIG_MAP: Final = {"kind": "ConfigMap", "data": {"backstay.yaml": "version: 1\n"}, "binaryData": {"x": "AA=="}}
Answer: TypeAlias = Callable[[], web.StreamResponse]


class FakeApi:
    """An API server that knows one token, and answers as a test says."""

    def __init__(self, account: Path, data: Mapping[str, str] | None = None) -> None:
        self.account = account
        authority = trustme.CA()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.tls)
        self.asked: list[str] = []
        self.answer: Answer = lambda: web.json_response(
            CONFIG_MAP if data is None else {"kind": "ConfigMap", "data": data}
        )
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        account.mkdir(exist_ok=True)
        (account / "token").write_text("first\n")
        authority.cert_pem.write_to_path(account / "ca.crt")

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        runner = await serve(app, "127.0.0.1", 0, tls=self.tls)
        self.port = runner.addresses[0][1]
        return runner

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.raw_path} {request.headers.get('Authorization')}")
        await self.goes_on.wait()
        return self.answer()
