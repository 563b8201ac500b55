"""Urls, hosts and mounts of a configuration: read, checked, and shown without their secrets.

Called by ``kinds.py`` for the keys that take them, and by ``expand.py`` for what may be shown.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from proxy.config.units import UnitError

MASK: Final = "****"
HOST: Final = r"[0-9A-Za-z_](?:[0-9A-Za-z._-]{0,251}[0-9A-Za-z_])?"
MOUNT: Final = r"/|(?:/[A-Za-z0-9._~-]+)+"
REDIS: Final = r"(?:rediss?|unix)://[!-~]+"
LEDGER: Final = r"sqlite:(?:/[^/?#\x00-\x1f\x7f]+)+"
PATH_CHARS: Final = r"[A-Za-z0-9._~!$&'()*+,;=:@%-]"  # RFC 3986, 3.3: pchar
_REDIS_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SERVER: Final = "a url of a Redis server"
_USERINFO: Final = re.compile(r"//[^/@\s]*@")


def masked(text: str) -> str:
    """``text`` without the user and password of a url in it."""
    return _USERINFO.sub(f"//{MASK}@", text)


def masked_redis(text: str) -> str:
    """The same where all of it is a url, be it malformed: nothing before the last ``@``, no option but the database."""
    text = re.sub(r"^(\w+:/{0,2})?.*@", rf"\g<1>{MASK}@", text, flags=re.DOTALL)
    return re.sub(r"\?(?!db=[0-9]*$).*", f"?{MASK}", text, flags=re.DOTALL)


def masked_proxy(text: str) -> str:
    """The same where all of it is the url of a proxy, be it malformed: nothing before the last ``@`` but the scheme."""
    return re.sub(r"^((?:https?|socks\w*):/{0,2})?.*@", rf"\g<1>{MASK}@", text, flags=re.DOTALL)


def read_url(value: Any) -> SplitResult:
    """The parts of an upstream's url, checked."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        raise UnitError("a url", "write https://host, https://host:port or https://host/path")
    try:
        url, port = urlsplit(value), urlsplit(value).port
    except ValueError:
        raise UnitError("a url", "check its host and port: the port is a number from 1 to 65535") from None
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise UnitError("a url with http or https", "write https://host, or http://host for plain text")
    _check_url(value, url, port)
    return url


def _check_url(value: str, url: SplitResult, port: int | None) -> None:
    if "@" in url.netloc:
        raise UnitError(
            "a url without credentials", "take the user and password out: the agent sends its own credentials"
        )
    if "?" in value or "#" in value:
        raise UnitError("a url without query and fragment", "keep scheme, host, port and path only")
    if port == 0 or url.netloc.endswith(":") or not _is_host(str(url.hostname)):
        raise UnitError("a url", "check its host and port: the port is a number from 1 to 65535")
    segments = url.path.rstrip("/").split("/")[1:]
    if not all(re.fullmatch(f"{PATH_CHARS}+", segment) and segment not in {".", ".."} for segment in segments):
        raise UnitError("a url with a plain path", "write the path without '//', '.', '..' and encode what is special")


def read_redis(value: Any) -> str:
    """A url as Redis clients take it, checked."""
    if not isinstance(value, str) or not re.fullmatch(f"(?:{REDIS})", value):
        raise UnitError(_SERVER, "write redis://host:6379/0, rediss:// for TLS, or unix:///run/redis.sock")
    try:
        url = urlsplit(value)
        usable = _is_socket(url) if url.scheme == "unix" else _is_server(url)
    except ValueError:
        usable = False
    if usable:
        return value
    raise UnitError(_SERVER, "check host, port and database; in a password write %2F for /, %40 for @")


def _is_socket(url: SplitResult) -> bool:
    """A path without a host before it; the database is an option."""
    return url.netloc.rpartition("@")[2] == "" and url.path not in {"", "/"} and _has_only(url, {"db"})


def _is_server(url: SplitResult) -> bool:
    place = url.port != 0 and not url.netloc.endswith(":") and _is_host(url.hostname or "")
    options: AbstractSet[str] = _REDIS_TLS if url.scheme == "rediss" else frozenset()
    return place and re.fullmatch("/?[0-9]*", url.path) is not None and _has_only(url, options)


def _has_only(url: SplitResult, options: AbstractSet[str]) -> bool:
    """Other options are refused: a password among them would be shown, and how long a store may take is ours to say."""
    given = [part.partition("=")[0] for part in url.query.split("&")] if url.query else []
    return not url.fragment and options >= {*given}


def read_ledger(value: Any) -> str:
    """The path of a ledger's file."""
    if isinstance(value, str) and re.fullmatch(LEDGER, value):
        return value.removeprefix("sqlite:")
    raise UnitError(
        "the file of a ledger",
        "write sqlite: and an absolute path: sqlite:/var/lib/backstay/ledger.db",
        _ledger_hint(value),
    )


def write_ledger(path: str) -> str:
    """The inverse."""
    return f"sqlite:{path}"


def _ledger_hint(value: Any) -> str | None:
    """A path by itself, or after slashes as other urls have them, says well enough what was meant."""
    found = re.fullmatch("(?:sqlite:(?:///?)?)?(/[^/].*)", value) if isinstance(value, str) else None
    tidy = f"sqlite:{found[1]}" if found else ""
    return f"write {tidy}" if re.fullmatch(LEDGER, tidy) else None


def _is_host(host: str) -> bool:
    return ":" in host or re.fullmatch(HOST, host) is not None  # urlsplit has checked what stood in brackets


def read_host(value: Any) -> str:
    """A name without scheme and port, lower-cased."""
    if isinstance(value, str) and re.fullmatch(HOST, value):
        return value.lower()
    has_port = isinstance(value, str) and ":" in value
    raise UnitError(
        "a host name",
        "write a name such as api.internal",
        "write the name without scheme and port" if has_port else None,
    )


def read_mount(value: Any) -> str:
    """The path under which an agent finds an api."""
    if isinstance(value, str) and re.fullmatch(MOUNT, value) and not {".", ".."} & set(value.split("/")):
        return value
    remedy = "write a path such as /stripe: a slash first, none at the end, letters, digits and . _ ~ - between"
    raise UnitError("a mount", remedy, _mount_hint(value))


def _mount_hint(value: Any) -> str | None:
    tidy = f"/{value.strip('/')}" if isinstance(value, str) else ""
    good = tidy not in {"", "/"} and re.fullmatch(MOUNT, tidy) and not {".", ".."} & set(tidy.split("/"))
    return f"write {tidy}" if good else None
