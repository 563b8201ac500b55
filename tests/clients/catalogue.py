"""The clients: which program shows each, what catches it and makes it trust, and what cannot be asked of it.

Used by ``run.py``, and by the page that it writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

STEPS: Final = ("plain", "stream", "retry", "breaker", "cache", "dedup")
APIS: Final = {
    "rest": "api.vendor.example",
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
    "stripe": "api.stripe.com",
    "stripe-files": "files.stripe.com",
    "bedrock": "bedrock-runtime.us-east-1.amazonaws.com",
    "s3": "s3.amazonaws.com",
    "mcp": "mcp.vendor.example",
}


@dataclass(frozen=True)
class Client:
    """A client as an agent has it."""

    name: str
    runtime: str  # python | node24 | node20 | system
    program: str  # in programs/
    package: str  # whose version counts
    caught_by: tuple[str, ...]  # variables: those that have its calls sent to Backstay,
    trusts_by: tuple[str, ...]  # and those that have it trust what Backstay signs
    shim: str = ""  # proxy | trust: for which of the two it needs the shims
    without: dict[str, str] = field(default_factory=dict)  # step -> why it has none

    @property
    def label(self) -> str:
        return f"{self.runtime} {self.name}"


_PROXY: Final = ("HTTPS_PROXY",)
_PYTHON: Final = (_PROXY, ("SSL_CERT_FILE",))
_PYTHON_SHIM: Final = (("PYTHONPATH", "HTTPS_PROXY"), ("SSL_CERT_FILE",), "proxy")
_NODE_24: Final = (("NODE_USE_ENV_PROXY", "HTTPS_PROXY"), ("NODE_EXTRA_CA_CERTS",))
_NODE_20: Final = (("NODE_OPTIONS", "HTTPS_PROXY"), ("NODE_EXTRA_CA_CERTS",), "proxy")
_NO_CACHE: Final = {"cache": "a tool is called by POST, and each call has a number of its own"}

CLIENTS: Final = (
    Client("curl", "system", "with_curl.sh", "curl", _PROXY, ("SSL_CERT_FILE",)),
    Client("wget", "system", "with_wget.sh", "wget", ("https_proxy",), ("SYSTEM_WGETRC",)),
    Client("requests", "python", "with_requests.py", "requests", _PROXY, ("REQUESTS_CA_BUNDLE",)),
    Client("httpx", "python", "with_httpx.py", "httpx", *_PYTHON),
    Client("urllib", "python", "with_urllib.py", "python", *_PYTHON),
    Client("aiohttp, trust_env", "python", "with_aiohttp_trust_env.py", "aiohttp", *_PYTHON),
    Client("openai", "python", "with_openai.py", "openai", *_PYTHON),
    Client("anthropic", "python", "with_anthropic.py", "anthropic", *_PYTHON),
    Client("langchain-openai", "python", "with_langchain_openai.py", "langchain-openai", *_PYTHON),
    Client("google-genai", "python", "with_google_genai.py", "google-genai", *_PYTHON),
    Client("mcp", "python", "with_mcp.py", "mcp", *_PYTHON, without=_NO_CACHE),
    Client("boto3", "python", "with_boto3.py", "boto3", _PROXY, ("AWS_CA_BUNDLE",)),
    Client("fetch", "node24", "with_fetch.mjs", "node", *_NODE_24),
    Client("axios", "node24", "with_axios.mjs", "axios", _PROXY, ("NODE_EXTRA_CA_CERTS",)),
    Client("openai", "node24", "with_openai.mjs", "openai", *_NODE_24),
    Client("@anthropic-ai/sdk", "node24", "with_anthropic.mjs", "@anthropic-ai/sdk", *_NODE_24),
    Client("aiohttp", "python", "with_aiohttp_plain.py", "aiohttp", *_PYTHON_SHIM),
    Client("urllib3", "python", "with_urllib3.py", "urllib3", *_PYTHON_SHIM),
    Client("stripe", "python", "with_stripe.py", "stripe", _PROXY, ("PYTHONPATH", "BACKSTAY_CA"), "trust"),
    Client("fetch", "node20", "with_fetch.mjs", "node", *_NODE_20),
    Client("openai", "node20", "with_openai.mjs", "openai", *_NODE_20),
    Client("stripe", "node20", "with_stripe.mjs", "stripe", *_NODE_20),
)
