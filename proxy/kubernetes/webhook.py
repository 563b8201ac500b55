"""The mutating webhook's HTTP: a review comes in, an answer goes out. Made and served by injector.py.

    POST /inject             pods that are annotated
    POST /inject/namespace   pods of a namespace that is labelled: all that do not say otherwise

200 is an answer, whatever it is. 500: the configuration could not be read, or a defect; then ``failurePolicy`` decides
what becomes of the pod. 400: no review. 408: too slow a one. 413: too large a one. The API server, as the chart sets it
up, sends none of these three: they are counted apart, as ``invalid``, and not timed, since anybody may find the port.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import web

from proxy.clock import Clock
from proxy.kubernetes import review
from proxy.kubernetes.annotations import read as wish_of
from proxy.kubernetes.cluster import Unreadable
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Installation, Patch, Refused, Skipped, Supply
from proxy.kubernetes.supply import from_cluster
from proxy.telemetry.metrics import Registry

_log = logging.getLogger("backstay")

_LARGEST: Final = 4 << 20  # bytes; the API server takes 3 MiB of an object itself
_SMALL: Final = 128 << 10  # bytes; hardly a pod is larger
_LARGE_ONES: Final = 2  # at a time
_LONGEST_REFUSAL: Final = 4096  # characters
_PATIENCE: Final = 10.0  # seconds for a review to come in
_READING: Final = 3.0  # seconds for what a ConfigMap says, behind two to get it: nobody waits longer for the answer


class Maps(Protocol):
    """Whoever knows what ConfigMaps say; see cluster.ConfigMaps."""

    async def data(self, namespace: str, name: str, /) -> Mapping[str, str]:
        """Raises Refused, Unreadable."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What pods get that ask for nothing in particular."""

    installation: Installation
    supply: Supply


class Webhook:
    """See the module. ``offer`` may be replaced at any time; ``is_ending``: each answer ends its connection."""

    def __init__(self, clock: Clock, registry: Registry, maps: Maps, offer: Offer) -> None:
        self.offer = offer
        self.is_ending = False
        self._large = asyncio.Semaphore(_LARGE_ONES)
        self._clock = clock
        self._maps = maps
        self._results = {
            result: registry.counter("backstay_injector_reviews_total", result=result)
            for result in ("injected", "skipped", "refused", "failed", "invalid")
        }
        self._duration = registry.histogram("backstay_injector_review_duration_seconds")

    def app(self) -> web.Application:
        """To serve, over TLS."""
        app = web.Application(client_max_size=_LARGEST)
        app.on_response_prepare.append(self._prepare)
        app.router.add_post("/inject", self._counted(partial(self._answer, unless_told=False)))
        app.router.add_post("/inject/namespace", self._counted(partial(self._answer, unless_told=True)))
        return app

    async def _prepare(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "backstay"  # and not the versions of Python and aiohttp
        if self.is_ending:
            response.headers["Connection"] = "close"
            response.force_close()

    def _counted(
        self, handle: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """With all that fails counted, a defect of ours included."""

        async def counted(request: web.Request) -> web.StreamResponse:
            since = self._clock.now()
            try:
                response = await handle(request)
            except web.HTTPException as error:  # the answer to what is no review
                self._results["invalid"].inc()
                return _said(error.status, error.text or error.reason)
            except Unreadable as error:
                _log.error("a review failed", extra={"why": str(error)})
                response = self._failed(str(error))
            except Exception:  # noqa: BLE001 -- whatever it is, it is ours
                _log.exception("a review failed")
                response = self._failed("there is a defect in Backstay's injector; its log has more")
            self._duration.observe(self._clock.now() - since)
            return response

        return counted

    def _failed(self, why: str) -> web.Response:
        self._results["failed"].inc()
        return _said(500, why)

    async def _answer(self, request: web.Request, *, unless_told: bool) -> web.Response:
        async with AsyncExitStack() as turn:
            return await self._answer_in(turn, request, unless_told=unless_told)

    async def _answer_in(self, turn: AsyncExitStack, request: web.Request, *, unless_told: bool) -> web.Response:
        try:
            asked = review.read(await self._document(request, turn))
        except review.BadReview as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        try:
            outcome = await self._outcome(asked, unless_told=unless_told)
            answer = web.json_response(review.answer(asked, outcome))
        except RecursionError:
            raise web.HTTPBadRequest(text="its pod is nested deeper than any is") from None
        self._note(asked, outcome)
        return answer

    async def _document(self, request: web.Request, turn: AsyncExitStack) -> Any:
        late = web.HTTPRequestTimeout(text=f"the review did not come in within {_PATIENCE:g} s")
        try:
            body = await self._clock.wait(self._body(request, turn), _PATIENCE, late)
        except (ConnectionError, web.RequestPayloadError):
            raise review.BadReview("this was cut short, or is not encoded as it says") from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise review.BadReview("this is no JSON; send an AdmissionReview, as the API server does") from None

    async def _body(self, request: web.Request, turn: AsyncExitStack) -> bytes:
        """All of it, while few others are as large: what has not been let in waits in the socket, and takes no memory.

        What it says takes a multiple of its size, so the turn is over when the answer is made.
        """
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                if len(body) <= _SMALL < len(body) + len(chunk):
                    await turn.enter_async_context(self._large)
                body += chunk
                if len(body) > _LARGEST:
                    raise web.HTTPRequestEntityTooLarge(_LARGEST, len(body))
            return bytes(body)
        finally:
            body.clear()  # the error of one that came too late would hold it

    async def _outcome(self, asked: review.Asked, *, unless_told: bool) -> review.Outcome:
        if isinstance(asked.pod, Skipped):
            return asked.pod
        offer = self.offer
        try:
            wish = wish_of(asked.pod, offer.installation, unless_told=unless_told)
            if isinstance(wish, Skipped):
                return wish
            supply = offer.supply if wish.config_map is None else await self._supply(asked.namespace, wish.config_map)
            return inject(asked.pod, wish, offer.installation, supply)
        except Refused as refused:  # which may quote what has no limit
            text = str(refused)
            return refused if len(text) <= _LONGEST_REFUSAL else Refused(f"{text[:_LONGEST_REFUSAL]}...")

    async def _supply(self, namespace: str, name: str) -> Supply:
        readable = self.offer.installation.config_map_namespaces
        if readable is not None and namespace not in readable:
            raise Refused(
                f"the injector may not read ConfigMaps of namespace {namespace!r}, so that its pods cannot name one; "
                "remove backstay.dev/config, or let the chart's injector.rbac have the namespace"
            )
        data = await self._maps.data(namespace, name)
        read = asyncio.get_running_loop().run_in_executor(None, from_cluster, name, data)
        late = Unreadable(f"ConfigMap {name} could not be read within {_READING:g} s")
        return await self._clock.wait(read, _READING, late)

    def _note(self, asked: review.Asked, outcome: review.Outcome) -> None:
        about = {"namespace": asked.namespace, "pod": asked.name, "uid": asked.uid, "dry_run": asked.is_dry_run}
        match outcome:
            case Patch():
                self._results["injected"].inc()
                _log.info("injected", extra={**about, "warnings": list(outcome.warnings)})
            case Skipped():
                self._results["skipped"].inc()
                _log.log(
                    logging.DEBUG if outcome.unasked else logging.INFO, "skipped", extra={**about, "why": outcome.why}
                )
            case _:
                self._results["refused"].inc()
                _log.warning("refused", extra={**about, "why": str(outcome)})


def _said(status: int, text: str) -> web.Response:
    said = f"backstay: {text}\n".encode(errors="replace")  # an API server's words may hold half a character
    return web.Response(status=status, body=said, content_type="text/plain", charset="utf-8")
