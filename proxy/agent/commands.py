"""The commands around an agent: ``backstay env | doctor | redirect | ca | prepare``. Called by ``cli.py``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.agent.variable import FORMATS
from proxy.command import FAILED, OK, Failure, add, add_config, duration, host_port, load, os_failure

if TYPE_CHECKING:
    from proxy.command import Commands
    from proxy.config.settings import Address, Config

_BUSYBOX: Final = Path("/usr/lib/backstay/busybox")
_DAY: Final = 86400.0


# --- backstay env ------------------------------------------------------------------------------------


def add_env(commands: Commands) -> None:
    """``backstay env``."""
    text = (
        "print the variables that an agent needs\n\n"
        "Set in the agent's environment, they send its calls to Backstay and make it trust what Backstay signs;\n"
        "each has a comment that says who reads it. What is wrong with them is said on standard error."
    )
    examples = (
        'eval "$(backstay env backstay.yaml)"      (with the quotes: they keep the lines apart)',
        "backstay env backstay.yaml --format dotenv > agent.env",
        "backstay env backstay.yaml --format kubernetes --shims /var/run/backstay/trust/shims",
    )
    parser = add(commands, "env", _env, text, *examples)
    add_config(parser)
    parser.add_argument("--format", choices=FORMATS, default="shell", help="default: %(default)s")
    parser.add_argument(
        "--shims",
        type=Path,
        metavar="DIR",
        help="write the runtime shims there, and load them: for clients that no variable reaches (docs/capture.md)",
    )
    parser.add_argument("--base-urls", action="store_true", help="also the variables that point SDKs at the mounts")
    parser.add_argument(
        "--at",
        type=_address,
        metavar="HOST:PORT",
        help="where the agent reaches Backstay, if that is not listen.agent: from another container or host",
    )


def _env(options: argparse.Namespace) -> int:
    from proxy.agent import shims
    from proxy.agent.env import NoAddress, Place, render, variables

    config = load(options.config, afar=True)
    folder = None if options.shims is None else options.shims.absolute()
    try:
        found = variables(config, Place(options.at, folder), with_base_urls=options.base_urls)
        if folder is not None:
            shims.write(folder)
    except NoAddress as error:
        raise Failure(f"backstay: {error}; or say it with --at HOST:PORT") from None
    except OSError as error:
        raise os_failure(error) from None
    for warning in _warnings(config, here=options.format == "shell"):
        print(f"backstay: {warning}", file=sys.stderr)
    print(render(found, options.format), end="")
    return OK


def _warnings(config: Config, *, here: bool) -> list[str]:
    """What makes the variables less than they seem. ``here``: they are for a process on this machine."""
    from proxy.wire.trust import BUNDLE

    if config.tls_intercept is None:
        return [
            "tls_intercept is off: https calls pass through as they are. egress applies to them, no other policy does"
        ]
    bundle = config.tls_intercept.trust_dir / BUNDLE
    if here and not bundle.is_file():
        return [f"{bundle} is not there yet: start Backstay, or run `backstay ca CONFIG`, before the agent"]
    return []


def _address(text: str) -> Address:
    from proxy.config.settings import Address

    return Address(*host_port(text))


# --- backstay doctor ---------------------------------------------------------------------------------


def add_doctor(commands: Commands) -> None:
    """``backstay doctor``."""
    text = (
        "prove that an agent's calls are caught, trusted and allowed\n\n"
        "Run it where the agent runs: with its variables, in its network namespace, as its user. Says what is wrong\n"
        "and what to do about it, host by host; vendors are not called. Exit code 0 if all is well, else 1; a\n"
        "warning is no failure."
    )
    parser = add(
        commands, "doctor", _doctor, text, "backstay doctor backstay.yaml", "backstay doctor backstay.yaml --json"
    )
    add_config(parser)
    parser.add_argument(
        "--timeout", type=duration(0.1), default=5.0, metavar="SECONDS", help="for each step (default: %(default)gs)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _doctor(options: argparse.Namespace) -> int:
    from proxy.agent.doctor import examine
    from proxy.agent.findings import as_object, as_text, is_well

    findings = list(examine(load(options.config, afar=True), os.environ, options.timeout))
    print(json.dumps(as_object(findings), indent=2) if options.json else as_text(findings))
    return OK if is_well(findings) else FAILED


# --- backstay redirect -------------------------------------------------------------------------------


def add_redirect(commands: Commands) -> None:
    """``backstay redirect``."""
    text = (
        "send all connections of an agent to listen.transparent\n\n"
        "The rules are for the network namespace that the agent and Backstay share (a pod): new TCP connections of\n"
        "every user but Backstay's own are redirected, HTTP/3 is refused so that clients fall back. Wants root\n"
        "(NET_ADMIN) to apply and to remove them; an init container does it before the agent starts."
    )
    examples = (
        "backstay redirect backstay.yaml --uid 7070 --print",
        "backstay redirect --uid 7070 --port 7071 --exclude-port 5432 --apply",
        "backstay redirect --remove",
    )
    parser = add(commands, "redirect", _redirect, text, *examples)
    parser.add_argument(
        "config",
        type=Path,
        nargs="*",
        metavar="CONFIG",
        help="whose listen.transparent is meant, if --port is not given",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    for action, does in (("print", "print the rules"), ("apply", "apply them"), ("remove", "remove them")):
        what.add_argument(f"--{action}", dest="action", action="store_const", const=action, help=does)
    parser.add_argument("--uid", type=int, metavar="UID", help="the user id that Backstay runs as: its traffic passes")
    parser.add_argument("--port", type=int, metavar="PORT", help="of listen.transparent")
    parser.add_argument(
        "--exclude-port", type=int, action="append", default=[], metavar="PORT", help="not redirected; may be repeated"
    )
    parser.add_argument(
        "--exclude-network", action="append", default=[], metavar="CIDR", help="not redirected; may be repeated"
    )
    parser.add_argument("--tool", metavar="TOOL", help="nft, iptables, iptables-legacy or iptables-nft")
    parser.add_argument("--force", action="store_true", help="permit a UID of 0, and with it whatever root sends")


def _redirect(options: argparse.Namespace) -> int:
    from proxy.agent.redirect import main

    port = 0 if options.action == "remove" else _transparent_port(options)
    try:
        said = main(
            action=options.action,
            uid=options.uid,
            port=port,
            exclude_ports=options.exclude_port,
            exclude_networks=options.exclude_network,
            tool=options.tool,
            force=options.force,
        )
    except OSError as error:
        raise os_failure(error) from None
    print(said)
    return OK


def _transparent_port(options: argparse.Namespace) -> int:
    if options.port is not None:
        return int(options.port)
    listen = load(options.config, afar=True).listen.transparent if options.config else None
    if listen is None or listen.port == 0:
        raise Failure(
            "backstay: where to is not said: give --port, or a CONFIG that has listen.transparent with a port"
        )
    return listen.port


# --- backstay ca -------------------------------------------------------------------------------------


def add_ca(commands: Commands) -> None:
    """``backstay ca``."""
    text = (
        "make the authority that signs for intercepted hosts, or read it\n\n"
        "Makes one in tls_intercept.ca_dir if there is none, puts ca.crt and ca-bundle.crt into\n"
        "tls_intercept.trust_dir for agents to trust, and prints its fingerprint and end. `backstay run` does the\n"
        "same when it starts; an init container that runs this has it done before the agent starts."
    )
    add_config(add(commands, "ca", _ca, text, "backstay ca backstay.yaml"))


def _ca(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from proxy.wire.ca import Authority

    settings = load(options.config, afar=True).tls_intercept
    if settings is None:
        raise Failure("backstay: tls_intercept is off: nothing is signed, and agents have nothing to trust")
    wall = _wall()
    try:
        authority = Authority.load(settings.ca_dir, wall)
        authority.publish(settings.trust_dir)
    except OSError as error:
        raise os_failure(error) from None
    print(f"sha256: {authority.fingerprint}")
    until = datetime.fromtimestamp(authority.not_after, UTC)
    print(f"valid until: {until:%Y-%m-%d} ({int((authority.not_after - wall) / _DAY)} days)")
    print(f"key: {settings.ca_dir} (never for the agent)")
    print(f"to trust: {settings.trust_dir}")
    return OK


def _wall() -> float:
    import asyncio

    from proxy.clock import Clock

    loop = asyncio.new_event_loop()
    try:
        return Clock(loop).wall()
    finally:
        loop.close()


# --- backstay prepare --------------------------------------------------------------------------------


def add_prepare(commands: Commands) -> None:
    """``backstay prepare``."""
    text = (
        "prepare the volumes of a pod, in an init container\n\n"
        "Makes tls_intercept.trust_dir/roots, into which init containers of the agent's images put the roots that\n"
        "those trust (they replace the system's in ca-bundle.crt), and what is asked for besides."
    )
    examples = ("backstay prepare /etc/backstay --tools /var/run/backstay/tools --shims /var/run/backstay/trust/shims",)
    parser = add(commands, "prepare", _prepare, text, *examples)
    add_config(parser)
    parser.add_argument(
        "--tools", type=Path, metavar="DIR", help="copy a static busybox there, for init containers without a shell"
    )
    parser.add_argument("--shims", type=Path, metavar="DIR", help="write the runtime shims there: see `backstay env`")
    parser.add_argument(
        "--busybox", type=Path, default=_BUSYBOX, metavar="FILE", help="the one to copy (default: %(default)s)"
    )


def _prepare(options: argparse.Namespace) -> int:
    from proxy.agent import prepare, shims

    settings = load(options.config, afar=True).tls_intercept
    try:
        if settings is not None:
            print(f"roots: {prepare.open_roots(settings.trust_dir)}")
        if options.tools is not None:
            print(f"tools: {prepare.copy_tools(options.busybox, options.tools)}")
        if options.shims is not None:
            shims.write(options.shims)
            print(f"shims: {options.shims}")
    except OSError as error:
        raise os_failure(error) from None
    return OK
