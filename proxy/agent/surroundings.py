"""Looks at the environment that an agent has: do its variables lead to Backstay, and to what it signs with?

Called by doctor.py. Nothing is sent; whether they do lead there is for ``ways.py`` to prove.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from proxy.agent.env import ADDING, PROXIES, REPLACING
from proxy.agent.findings import Finding, failed, ok, warning
from proxy.config.settings import Address, Config
from proxy.wire.trust import BUNDLE, CERTIFICATE
from proxy.wire.trust_forms import WGET

PROXY: Final = "proxy variables"
TRUST: Final = "trust variables"
EVAL: Final = 'set what `backstay env CONFIG` prints: eval "$(backstay env CONFIG)"'
_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_OWN: Final = ("localhost", "127.0.0.1")


# --- the proxy ---------------------------------------------------------------------------------------


def proxy_of(environ: Mapping[str, str], scheme: str) -> Address | None:
    """Where the variables send calls of this scheme; None: nowhere, or not to a place."""
    return _place(environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY") or "")


def is_exempt(environ: Mapping[str, str], host: str) -> str | None:
    """The entry of NO_PROXY by which clients call a host directly, if there is one."""
    for entry in _entries(environ):
        name = entry.lower().removeprefix("*").removeprefix(".")
        if entry == "*" or host == name or (name and host.endswith(f".{name}")):
            return entry
    return None


def proxies(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What is said of the proxy."""
    names = [name for name, _ in PROXIES if not name.lower().startswith("all_")]
    missing = [name for name in names if not environ.get(name)]
    if missing == names:
        yield _none_is_set(config)
        return
    places = {name: _place(environ[name]) for name in names if name not in missing}
    for name in [name for name, place in places.items() if place is None]:
        yield failed(PROXY, f"{name} is not the url of an http proxy: {_shown(environ[name])}", EVAL)
    if len(set(places.values())) > 1:
        said = ", ".join(f"{name} {place}" for name, place in places.items())
        yield failed(PROXY, f"they lead to different places: {said}", EVAL)
    if missing:
        yield warning(PROXY, f"{', '.join(missing)} not set: some clients read one case only", EVAL)
    yield from _without_proxy(environ)
    if environ.get("NODE_USE_ENV_PROXY") != "1":
        yield warning(PROXY, "NODE_USE_ENV_PROXY is not 1: Node does not read the others", EVAL)
    if places and None not in places.values() and not missing:
        yield ok(PROXY, f"{', '.join(names)}: {next(iter(places.values()))}")


def _none_is_set(config: Config) -> Finding:
    if config.listen.transparent is None:
        return failed(PROXY, "none is set", f"{EVAL}; or set listen.transparent, and redirect the agent's traffic")
    return ok(PROXY, "none is set: calls have to be redirected")


def _without_proxy(environ: Mapping[str, str]) -> Iterator[Finding]:
    entries = _entries(environ)
    missing = [name for name in _OWN if name not in entries]
    if missing:
        what = f"NO_PROXY has no {' and no '.join(missing)}: the agent does not reach its own servers"
        yield warning(PROXY, what, EVAL)
    if environ.get("NO_PROXY", "") != environ.get("no_proxy", ""):
        yield warning(PROXY, "NO_PROXY and no_proxy differ: each client reads one of them", EVAL)
    for entry in entries:
        if "/" in entry:
            yield warning(PROXY, f"NO_PROXY has the network {entry}: httpx, aiohttp and others do not know those", EVAL)


def _entries(environ: Mapping[str, str]) -> list[str]:
    said = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}"
    return list(dict.fromkeys(entry.strip() for entry in said.split(",") if entry.strip()))


def _place(url: str) -> Address | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return Address(parts.hostname, parts.port or 80) if parts.scheme == "http" and parts.hostname else None
    except ValueError:
        return None


def _shown(url: str) -> str:
    """Without a password that somebody has put there."""
    return re.sub(r"//[^/@]*@", "//***@", url)


# --- what is trusted ---------------------------------------------------------------------------------


def authority_file(config: Config, environ: Mapping[str, str]) -> Path | None:
    """Our authority's certificate, as far as it can be seen from here."""
    if config.tls_intercept is None:
        return None
    ours, added = (Path(environ.get(name, "")) for name in ("BACKSTAY_CA", "NODE_EXTRA_CA_CERTS"))
    places = [config.tls_intercept.trust_dir / CERTIFICATE, ours, *filter(_is_published, [added])]
    return next((place for place in places if place.is_file() and os.access(place, os.R_OK)), None)


def _is_published(file: Path) -> bool:
    """Whether it lies as Backstay puts it: by other roots than ours, a vendor would pass for Backstay and be asked."""
    return file.name == CERTIFICATE and file.with_name(BUNDLE).is_file()


def trust(config: Config, environ: Mapping[str, str], ours: Path | None) -> Iterator[Finding]:
    """What is said of whom to trust; ``ours``: our authority's certificate."""
    if config.tls_intercept is None:
        return
    folder = config.tls_intercept.trust_dir
    if ours is None:
        mend = "mount tls_intercept.trust_dir there, read-only; `backstay ca CONFIG` fills it before Backstay runs"
        yield failed(TRUST, f"{folder / CERTIFICATE} cannot be read", mend)
        return
    own = _certificates(ours)
    names = [name for name, _ in (*REPLACING, *ADDING)] + (["BACKSTAY_CA"] if environ.get("BACKSTAY_CA") else [])
    missing = [name for name in names if not environ.get(name)]
    if missing == names:
        yield failed(TRUST, "none is set: no client trusts what Backstay signs", EVAL)
        return
    replacing = {name for name, _ in REPLACING}
    for name in [name for name in names if name not in missing]:
        yield _file(name, environ[name], own, folder, replaces=name in replacing)
    yield from _others(environ)
    readers = {name: why.split(",")[0] for name, why in (*REPLACING, *ADDING)}
    if missing:
        said = ", ".join(f"{name} ({readers[name]})" for name in missing)
        yield warning(TRUST, f"not set: {said}; those clients refuse what Backstay signs", EVAL)


def _file(name: str, value: str, own: set[bytes], folder: Path, *, replaces: bool) -> Finding:
    try:
        held = _certificates(Path(value))
    except (OSError, ValueError) as error:
        return failed(TRUST, f"{name}: {value} cannot be read: {getattr(error, 'strerror', None) or error}", EVAL)
    if not own <= held:
        mend = f"point it at a file in {folder}, and restart what started before the authority was made"
        return failed(TRUST, f"{name}: {value} does not have the authority that Backstay signs with", mend)
    if replaces and held == own:
        what = f"{name}: {value} has no other root, and it replaces them: what is not intercepted is not trusted"
        return failed(TRUST, what, f"point it at {folder / BUNDLE}")
    return ok(TRUST, f"{name}: {value}")


def _others(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Java and wget are told in ways of their own."""
    java = environ.get("JAVA_TOOL_OPTIONS", "")
    store = re.search(r"-Djavax\.net\.ssl\.trustStore=(\S+)", java)
    if "-Dhttps.proxyHost=" not in java or store is None:
        yield warning(TRUST, "JAVA_TOOL_OPTIONS names no proxy and no trustStore: Java is not caught", EVAL)
    elif not os.access(store[1], os.R_OK):
        yield failed(TRUST, f"JAVA_TOOL_OPTIONS: {store[1]} cannot be read: Java trusts nobody", EVAL)
    wgetrc = environ.get("SYSTEM_WGETRC")
    if wgetrc is None:
        yield warning(TRUST, f"SYSTEM_WGETRC is not set ({WGET} in trust_dir): wget refuses what Backstay signs", EVAL)
    elif not os.access(wgetrc, os.R_OK):
        yield failed(TRUST, f"SYSTEM_WGETRC: {wgetrc} cannot be read", EVAL)


def _certificates(file: Path) -> set[bytes]:
    """What is in a file of PEM. Raises OSError, ValueError."""
    return {ssl.PEM_cert_to_DER_cert(block) for block in _BLOCK.findall(file.read_text("utf-8", "replace"))}
