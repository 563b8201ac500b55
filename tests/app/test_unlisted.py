"""Tests of unlisted.py: calls to hosts that no api names."""

from __future__ import annotations

import pytest

from proxy.config.settings import Config, UpstreamProxy
from proxy.errors import EgressDenied
from proxy.model import Exchange, Headers, Request
from proxy.runtime import Runtime
from tests.support.script import Rig


async def ask(rig: Rig, runtime: Runtime) -> None:
    request = Request(b"GET", b"/x", Headers(), host=b"localhost:9")
    request.forward = b"http"
    chain = runtime.route(request)
    with pytest.raises(EgressDenied):
        await chain.proceed(Exchange(request, chain.api, chain.route, rig.clock.now()))


async def test_a_call_that_outlives_its_configuration_leaves_nobody_its_way_out(rig: Rig) -> None:
    """Its pool would be used by all calls to this host that come later."""
    proxy = UpstreamProxy("localhost", 3128)
    old = Runtime(Config(upstream_proxy=proxy), rig.parts, b"test")
    new = Runtime(Config(), rig.parts, b"test")
    for runtime in (old, new, old):
        await ask(rig, runtime)
    ways = [pool.endpoint.way.proxy for pool in rig.survivors._passing.values()]
    assert ways == [None, proxy]
