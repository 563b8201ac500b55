"""Backstay's shim for Python: on PYTHONPATH, it is loaded by each interpreter that starts (`backstay env --shims DIR`).

1. Whatever verifies a server's certificate trusts the one in BACKSTAY_CA besides: stripe brings a bundle of its own.
2. aiohttp and urllib3 use the proxy variables, as other clients do by themselves.

It changes nothing else, imports nothing that the program does not, and loads the sitecustomize that it stands before.
A failure here is a line on standard error. It runs on whatever Python the agent has, with the standard library alone.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CA = os.environ.get("BACKSTAY_CA", "")
_PROXIES = [name for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY") if os.environ.get(name)]
_SAID: set[str] = set()


def _trust(ssl: Any) -> None:
    """A context that loads roots loads ours after them. Not a server's: those are roots of its clients."""
    context, load = ssl.SSLContext, ssl.SSLContext.load_verify_locations

    def then_ours(method: Any) -> Any:
        def loads(self: Any, *args: Any, **kwargs: Any) -> None:
            method(self, *args, **kwargs)
            if self.protocol != ssl.PROTOCOL_TLS_SERVER:
                _attempt(load, self, _CA)

        return loads

    context.set_default_verify_paths = then_ours(context.set_default_verify_paths)
    context.load_verify_locations = then_ours(load)


def _read_variables(client: Any) -> None:
    """A session of aiohttp reads the proxy variables, unless the program says trust_env=False."""
    init = client.ClientSession.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  it becomes one
        kwargs.setdefault("trust_env", True)
        init(self, *args, **kwargs)

    client.ClientSession.__init__ = __init__


def _use_proxies(urllib3: Any) -> None:
    """A plain PoolManager hands what is to go through a proxy to a ProxyManager with its own settings."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    plain, urlopen = urllib3.PoolManager, urllib3.PoolManager.urlopen

    def opens(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme)
        if type(self) is not plain or not proxy or not parts.hostname or proxy_bypass(parts.hostname):
            return urlopen(self, method, url, *args, **kwargs)
        managers = self.__dict__.setdefault("_backstay", {})
        if proxy not in managers:
            managers[proxy] = urllib3.ProxyManager(proxy, headers=self.headers, **self.connection_pool_kw)
        return managers[proxy].urlopen(method, url, *args, **kwargs)

    plain.urlopen = opens


class _Finder:
    """Has a module changed as soon as the program has imported it."""

    def __init__(self, changes: dict[str, Any]) -> None:
        self.changes = changes

    def find_spec(self, name: str, *where: Any) -> Any:
        change = self.changes.pop(name, None)
        finders = sys.meta_path if change is not None else ()
        specs = (finder.find_spec(name, *where) for finder in finders if finder is not self)
        spec: Any = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None and not isinstance(spec.loader, type):
            execute = spec.loader.exec_module

            def executes(module: Any) -> None:
                execute(module)
                _attempt(change, module)

            spec.loader.exec_module = executes
        return spec


def _install() -> None:
    changes: dict[str, Any] = {"ssl": _trust} if _CA else {}
    if _PROXIES:
        changes.update({"aiohttp.client": _read_variables, "urllib3.poolmanager": _use_proxies})
    for name in [name for name in changes if name in sys.modules]:
        _attempt(changes.pop(name), sys.modules[name])
    sys.meta_path.insert(0, _Finder(changes))


def _load_next() -> None:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    spec = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if os.path.abspath(entry) != here])
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def _attempt(change: Any, *args: Any) -> None:
    try:
        change(*args)
    except Exception as error:  # noqa: BLE001  the program goes on, whatever is wrong here
        line = f"backstay: shim: {change.__name__}: {error!r}\n"
        if line not in _SAID:
            _SAID.add(line)
            sys.stderr.write(line)


if __name__ == "sitecustomize":
    _attempt(_install)
    _attempt(_load_next)
