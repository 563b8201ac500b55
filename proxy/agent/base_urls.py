"""Owns the variables that point a vendor's SDK at a mount, for agents that shall use no proxy for it.

Called by ``env.py``, on request only: a call that is caught by a proxy variable needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from proxy.agent.variable import Variable
from proxy.config.settings import Api


class _Sdk(NamedTuple):
    host: str  # of the vendor, as its SDK has it built in
    name: str
    path: str  # that the SDK's own base url has: it is a part of the variable's value
    readers: str


_SDKS: Final = (
    _Sdk("api.openai.com", "OPENAI_BASE_URL", "/v1", "the openai SDKs"),
    _Sdk("api.anthropic.com", "ANTHROPIC_BASE_URL", "", "the anthropic SDKs"),
    _Sdk("generativelanguage.googleapis.com", "GOOGLE_GEMINI_BASE_URL", "", "the google-genai SDKs"),
    _Sdk("api.cohere.com", "CO_API_URL", "", "the cohere SDKs"),
    _Sdk("api.cohere.ai", "CO_API_URL", "", "the cohere SDKs"),
)
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_SIGNED: Final = (
    "boto3, the AWS SDKs, for this service. Only for calls with a bearer token: a signature covers the host, and would "
    "not hold behind a mount; signed calls want the proxy variables"
)


def base_urls(apis: Sequence[Api], where: str) -> list[Variable]:
    """One variable for each api that has a mount and whose vendor's SDK reads one; ``where`` is ``host:port``."""
    found: dict[str, Variable] = {}
    for api in apis:
        for variable in _of(api, f"http://{where}"):
            found.setdefault(variable.name, variable)
    return list(found.values())


def _of(api: Api, origin: str) -> Iterator[Variable]:
    if api.mount is None:
        return
    mount = origin + api.mount.rstrip("/")
    if api.host.endswith(_AWS) and not api.base_path:
        service = api.host.split(".")[0].upper().replace("-", "_")
        yield Variable(f"AWS_ENDPOINT_URL_{service}", mount, _SIGNED)
    for sdk in _SDKS:
        # The mount stands for the api's own base path: what the SDK adds to it has to begin there.
        if api.host == sdk.host and sdk.path.startswith(api.base_path):
            yield Variable(sdk.name, mount + sdk.path[len(api.base_path) :], f"{sdk.readers}, for {api.host}")
