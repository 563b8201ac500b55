"""Owns the variables by which an agent's runtimes find Backstay and trust it, and how they are written down.

Called by ``cli`` (``backstay env``) and ``doctor.py``. No runtime reads all of them, and none reads them alike:

the proxy       in both cases: curl takes ``http_proxy`` in lower case only
NO_PROXY        names and literal addresses: httpx and aiohttp do not understand 10.0.0.0/8
the trust       most of them *replace* the roots that the runtime came with: they get the bundle, those that add get our
                certificate alone

Backstay's own connections read none of these; it would call itself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.agent.base_urls import base_urls
from proxy.agent.variable import Format, Variable
from proxy.config.settings import Address, Config, TlsIntercept
from proxy.wire.trust import BUNDLE, CERTIFICATE
from proxy.wire.trust_forms import JAVA, WGET

PROXIES: Final = (
    ("HTTP_PROXY", "http:// calls: Python, Ruby, Rust, Node with NODE_USE_ENV_PROXY"),
    ("http_proxy", "the same for curl, wget, Go and others: curl reads this one in lower case only"),
    ("HTTPS_PROXY", "https:// calls: nearly all that read HTTP_PROXY"),
    ("https_proxy", "the same for wget and others, which read the lower case only"),
    ("ALL_PROXY", "whatever has no variable of its own: curl (wss), httpx, Rust; aiohttp, boto3 and Go ignore it"),
    ("all_proxy", "the same in lower case"),
)
REPLACING: Final = (
    ("SSL_CERT_FILE", "OpenSSL, httpx (openai, anthropic, cohere, mistral, mcp), urllib, aiohttp, Go, Ruby, Rust, uv"),
    ("REQUESTS_CA_BUNDLE", "requests, pip, huggingface_hub"),
    ("CURL_CA_BUNDLE", "curl, libcurl's command line; requests reads it in the second place"),
    ("AWS_CA_BUNDLE", "boto3, the aws command line"),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "grpcio and all that is built on the C core of gRPC"),
    ("HTTPLIB2_CA_CERTS", "httplib2 (google-api-python-client)"),
    ("GIT_SSL_CAINFO", "git"),
)
ADDING: Final = (
    ("NODE_EXTRA_CA_CERTS", "Node (and Bun), beside the roots that it is built with"),
    ("DENO_CERT", "Deno, beside the roots that it is built with"),
)
_WHY_JAVA: Final = (
    "Java, which reads none of the others; what it trusts has no password (from 8u301, 11.0.12 and 17 on)"
)
_CLUSTER: Final = (".svc", ".cluster.local")
_API_SERVER: Final = "$(KUBERNETES_SERVICE_HOST)"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./|*\[\]()$ -]*")


class NoAddress(ValueError):
    """Nobody can be told where Backstay is."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent finds things, as far as it is not what the configuration says."""

    agent: Address | None = None  # where it reaches listen.agent, from another host or container
    shims: Path | None = None  # the folder that ``shims.write`` has filled


def variables(config: Config, place: Place = Place(), *, with_base_urls: bool = False) -> list[Variable]:
    """The variables for an agent behind ``config``, in the order in which they are explained.

    Raises NoAddress if the port is not known before Backstay runs.
    """
    where = place.agent or reachable(config.listen.agent)
    found = [*_proxies(config, where), *_java(config, where)]
    if config.tls_intercept is not None:
        found += _trust(config.tls_intercept)
    if place.shims is not None:
        found += _shims(config, place.shims)
    if with_base_urls:
        found += base_urls(config.apis, str(where))
    return found


def trust_variables(config: Config, place: Place = Place()) -> list[Variable]:
    """The variables for an agent whose connections are redirected: it has to trust Backstay, and not to know of it."""
    found = [] if config.tls_intercept is None else [*_java_trust(config.tls_intercept), *_trust(config.tls_intercept)]
    return found if place.shims is None else found + _shims(config, place.shims)


def reachable(listen: Address) -> Address:
    """Where a client in the same network namespace finds a listener."""
    if listen.port == 0:
        raise NoAddress("listen.agent has port 0, which is any free one: name a port that agents can be told")
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host), listen.port)


def no_proxy(config: Config, where: Address) -> list[str]:
    """What agents call directly: their own host, Backstay itself, and (by default) the cluster.

    The cluster's names are left out if an api is among them, and where ``egress.private_networks`` is anything but
    ``auto``, since it shall decide then. With ``auto``, what is private is refused to whoever asks a proxy for it.
    """
    direct = ["localhost", "127.0.0.1", "::1", where.host]
    if config.egress.private_networks == "auto":
        hosts = [host for api in config.apis for host in (api.host, *api.hosts)]
        direct += [suffix for suffix in _CLUSTER if not any(host.endswith(suffix) for host in hosts)]
    return list(dict.fromkeys(direct))


def _proxies(config: Config, where: Address) -> list[Variable]:
    direct = ",".join(no_proxy(config, where))
    why = "what is called directly: names and literal addresses, since httpx and aiohttp know no networks"
    return [
        *(Variable(name, f"http://{where}", why) for name, why in PROXIES),
        Variable("NO_PROXY", direct, why),
        Variable("no_proxy", direct, "the same in lower case"),
        Variable("NODE_USE_ENV_PROXY", "1", "Node from 22.21 and 24 on: fetch, http, https read the proxy variables"),
    ]


def _java(config: Config, where: Address) -> list[Variable]:
    direct = (f"*{name}" if name.startswith(".") else name for name in no_proxy(config, where))
    hosts = "|".join(f"[{name}]" if ":" in name else name for name in direct)
    options = [f"-D{of}.proxyHost={where.host} -D{of}.proxyPort={where.port}" for of in ("http", "https")]
    options.append(f"-Dhttp.nonProxyHosts={hosts}")
    if config.tls_intercept is not None:
        options += [variable.value for variable in _java_trust(config.tls_intercept)]
    return [Variable("JAVA_TOOL_OPTIONS", " ".join(options), _WHY_JAVA, joined_by=" ")]


def _java_trust(ours: TlsIntercept) -> list[Variable]:
    options = f"-Djavax.net.ssl.trustStore={ours.trust_dir / JAVA}"
    return [Variable("JAVA_TOOL_OPTIONS", options, _WHY_JAVA, joined_by=" ")]


def _trust(ours: TlsIntercept) -> list[Variable]:
    folder = ours.trust_dir
    return [
        *(Variable(name, str(folder / BUNDLE), why) for name, why in REPLACING),
        *(Variable(name, str(folder / CERTIFICATE), why) for name, why in ADDING),
        Variable("SYSTEM_WGETRC", str(folder / WGET), "wget, for its trust; ~/.wgetrc counts besides"),
    ]


def _shims(config: Config, folder: Path) -> list[Variable]:
    node = str(folder / "backstay.cjs")
    quoted = json.dumps(node) if " " in node else node
    ours = config.tls_intercept
    return [
        *(
            [Variable("BACKSTAY_CA", str(ours.trust_dir / CERTIFICATE), "the shims: what to trust besides")]
            if ours
            else []
        ),
        Variable("PYTHONPATH", str(folder), "Python: finds sitecustomize.py there when it starts", joined_by=":"),
        Variable("NODE_OPTIONS", f"--require {quoted}", "Node: loads backstay.cjs when it starts", joined_by=" "),
    ]


# --- how they are written ----------------------------------------------------------------------------


def render(found: Sequence[Variable], style: Format) -> str:
    """The variables as text, each below a comment that says who reads it."""
    line = {"shell": _shell, "dotenv": _dotenv, "kubernetes": _kubernetes}[style]
    return "\n".join(f"# {variable.why}\n{line(variable)}" for variable in found) + "\n"


def _shell(variable: Variable) -> str:
    value = shlex.quote(variable.value)
    if variable.joined_by:  # what was there before stays, behind ours
        value += f'"${{{variable.name}:+{variable.joined_by}${variable.name}}}"'
    return f"export {variable.name}={value}"


def _dotenv(variable: Variable) -> str:
    """Bare if it can be: ``docker run --env-file`` takes quotes for a part of the value."""
    bare = _PLAIN.fullmatch(variable.value) is not None and "$" not in variable.value
    quoted = "'" + variable.value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{variable.name}={variable.value if bare else quoted}"


def kubernetes_value(variable: Variable) -> str:
    """As a container's ``env`` has it: ``$$(`` is a ``$(`` that stays, and the kubelet fills in the API server."""
    value = variable.value.replace("$(", "$$(")
    if variable.name.upper() == "NO_PROXY" and _CLUSTER[0] in value:
        value += f",{_API_SERVER}"
    return value


def _kubernetes(variable: Variable) -> str:
    """An entry of a container's ``env``; a JSON string is one of YAML."""
    return f"- name: {variable.name}\n  value: {json.dumps(kubernetes_value(variable))}"
