"""Owns the way out: from a name to a socket that is connected, by an address that may be, through a proxy if need be.

Called by pool.py for upstreams and by capture.py for what is passed on untouched. Names are resolved here, the egress
policy chooses among their addresses, and exactly those are connected to: a name that means something else a moment
later (DNS rebinding) is not asked again. Addresses are raced (RFC 8305) in the order in which they were chosen. What
the environment says of proxies is for agents: it is not read.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohappyeyeballs import start_connection

from proxy.errors import ConnectFailed
from proxy.wire.head import SECTION_END, Malformed, parse_fields, parse_status_line

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.config.settings import UpstreamProxy

Choose: TypeAlias = Callable[[Sequence[str]], list[str]]
"""Which of some addresses may be connected to, in order of preference. Raises EgressDenied if none may.

A name in place of an address is one that a proxy will resolve.
"""

_Found: TypeAlias = tuple[int, int, int, str, Any]  # as getaddrinfo has it

_HEAD_START: Final = 0.25  # seconds until the next address is tried beside the one before (RFC 8305, 5)
_LONGEST_HEAD: Final = 16 * 1024  # bytes of a proxy's answer
_MAX_INFORMATIONAL: Final = 8
_NAME: Final = re.compile(r"[^\x00-\x20\x7f/?#@\\]+")


@dataclass(frozen=True, slots=True)
class Way:
    """How to get out."""

    choose: Choose | None = None  # None: every address may be connected to
    proxy: UpstreamProxy | None = None  # names are resolved there


async def dial(
    clock: Clock, host: str, port: int, way: Way, *, prefer: str | None = None
) -> tuple[socket.socket, bytes]:
    """A connected socket that does not block, and what came on it behind the answer of a proxy.

    If the host has the address ``prefer``, no other is used.

    Raises:
        OSError: no address (gaierror), or none that accepts a connection.
        ConnectFailed: the proxy cannot be reached, or refuses.
        EgressDenied: by ``way.choose``.
    """
    if way.proxy is None:
        found = await _resolve(clock, host, port)
        if prefer is not None and any(each[4][0] == prefer for each in found):
            found = [each for each in found if each[4][0] == prefer]
        return await _connect(_chosen(found, way.choose)), b""
    sock = await dial_proxy(clock, host, port, way.proxy, way.choose)
    try:
        return sock, await _tunnel(clock, sock, _authority(host, port), way.proxy)
    except BaseException:
        sock.close()
        raise


async def dial_proxy(
    clock: Clock, host: str, port: int, proxy: UpstreamProxy, choose: Choose | None = None
) -> socket.socket:
    """A socket that is connected to the proxy, on behalf of calls to ``host``. Raises ConnectFailed, EgressDenied."""
    _check_name(host)
    if choose is not None:
        choose([host])
    try:
        return await _connect(await _resolve(clock, proxy.host, proxy.port))
    except OSError as error:
        raise ConnectFailed(
            f"The proxy {_authority(proxy.host, proxy.port)}, which leads to {_authority(host, port)}, cannot be "
            f"reached: {error.strerror or error}. It is set by upstream_proxy."
        ) from None


# --- addresses ------------------------------------------------------------------------------------------------------


async def _resolve(clock: Clock, host: str, port: int) -> list[_Found]:
    """The addresses of a host, those of its families by turns (RFC 8305, 4)."""
    _check_name(host)
    if _is_address(host):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    found: list[_Found] = await clock.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[assignment]
    families: dict[int, list[_Found]] = {}
    for each in found:
        families.setdefault(each[0], []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*families.values())) if each is not None]


def _chosen(found: list[_Found], choose: Choose | None) -> list[_Found]:
    if choose is None:
        return found
    by_address = {each[4][0]: each for each in found}
    return [by_address[address] for address in choose(list(by_address))]


async def _connect(found: list[_Found]) -> socket.socket:
    """The first of the addresses that accepts a connection, in their order."""
    if not found:
        raise _no_address("there is none")
    task = asyncio.current_task()
    cancelled = task.cancelling() if task is not None else 0
    try:
        sock = await start_connection(found, happy_eyeballs_delay=_HEAD_START, interleave=0)
    except RuntimeError as error:  # of uvloop
        raise OSError(str(error)) from None
    except OSError as error:
        if error.errno is None:  # several, each with another
            raise
        raise OSError(error.errno, os.strerror(error.errno)) from None  # less the words of asyncio's calls
    if task is not None and task.cancelling() > cancelled:
        # aiohappyeyeballs (2.6) swallows a cancellation that comes while it calls off the race that it has won.
        sock.close()
        raise asyncio.CancelledError
    return sock


def _check_name(host: str) -> None:
    """Raises gaierror: what resolvers would choke on, or what would be a line of its own in a request."""
    try:
        if _NAME.fullmatch(host) and host.encode("idna"):
            return
    except UnicodeError:  # a label is empty, or too long
        pass
    raise _no_address("it is not a name")


def _no_address(why: str) -> socket.gaierror:
    return socket.gaierror(socket.EAI_NONAME, why)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# --- through a proxy ------------------------------------------------------------------------------------------------


async def _tunnel(clock: Clock, sock: socket.socket, authority: str, proxy: UpstreamProxy) -> bytes:
    """Ask for a tunnel (RFC 9110, 9.3.6); returns what came behind the answer."""
    try:
        await clock.loop.sock_sendall(sock, connect_request(authority, proxy))
        status, rest = await _final_answer(clock, sock)
    except Malformed as error:
        raise ConnectFailed(_said(proxy, authority, f"gave an answer that is not HTTP: {error}")) from None
    except OSError as error:
        raise ConnectFailed(_said(proxy, authority, f"broke off: {error.strerror or error}")) from None
    if status >= 300:
        raise refusal(status, authority, proxy)
    return rest


def connect_request(authority: str, proxy: UpstreamProxy) -> bytes:
    """The request for a tunnel."""
    target = authority.encode() if authority.isascii() else authority.encode("idna")
    asked = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
    return asked + credentials(proxy) + b"\r\n"


def credentials(proxy: UpstreamProxy) -> bytes:
    """The field, with its line's end, by which a proxy knows us; nothing if it asks for none."""
    return b"" if proxy.authorization is None else b"Proxy-Authorization: %b\r\n" % proxy.authorization


async def _final_answer(clock: Clock, sock: socket.socket) -> tuple[int, bytes]:
    """(status, what came behind its head) of a proxy's answer. Raises Malformed, OSError."""
    data = b""
    for _ in range(_MAX_INFORMATIONAL):
        while (end := data.find(SECTION_END)) < 0:
            if len(data) > _LONGEST_HEAD:
                raise Malformed("its header section is too large")
            piece = await clock.loop.sock_recv(sock, 4096)
            if not piece:
                raise ConnectionResetError(0, "it closed the connection before it answered")
            data += piece
        line_end = data.find(b"\r\n")
        status, _, _ = parse_status_line(data[:line_end])
        parse_fields(data[line_end : end + 4])  # what they say of a body does not hold for a tunnel
        data = data[end + 4 :]
        if status >= 200:
            return status, data
    raise Malformed("it sends informational answers without end")


def refusal(status: int, authority: str, proxy: UpstreamProxy) -> ConnectFailed:
    """What an answer of the proxy's own means for the call, and what is to be done about it."""
    match status:
        case 401 | 407 if proxy.authorization is None:  # 401: of tinyproxy
            what = f"wants credentials ({status}): write them as upstream_proxy: http://USER:PASSWORD@HOST:PORT"
        case 401 | 407:
            what = f"does not accept the credentials of upstream_proxy ({status})"
        case 403 | 405:
            what = f"does not allow it ({status}): it has to be told to, or this host needs 'upstream_proxy: off'"
        case _:
            what = f"did not make a connection ({status}); its own log says why"
    return ConnectFailed(_said(proxy, authority, what))


def _said(proxy: UpstreamProxy, authority: str, what: str) -> str:
    return f"The proxy {_authority(proxy.host, proxy.port)}, asked for {authority}, {what}."


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
