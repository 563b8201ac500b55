"""Finds out from an agent's place whether its calls are caught, trusted and allowed, and says what to mend.

Called by ``commands.py`` (``backstay doctor``). No vendor is called: see probe.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.agent.findings import Finding
from proxy.agent.surroundings import authority_file, proxies, trust
from proxy.agent.ways import Ways
from proxy.config.settings import Config


def examine(config: Config, environ: Mapping[str, str], timeout: float) -> Iterator[Finding]:
    """Everything, as it is found. ``environ``: the agent's; ``timeout``: seconds for each step of a question."""
    ours = authority_file(config, environ)
    yield from proxies(config, environ)
    yield from trust(config, environ, ours)
    ways = Ways(config, environ, ours, timeout)
    for api in config.apis:
        for host in (api.host, *api.hosts):
            yield from ways.host(api, host)
    yield ways.metadata()
