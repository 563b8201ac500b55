"""The commands around an agent: ``backstay env | doctor | redirect | ca``. Called by ``cli.py``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.agent.variable import FORMATS
from proxy.command import OK, Failure, add, add_config, load, os_failure

if TYPE_CHECKING:
    from proxy.command import Commands
    from proxy.config.settings import Address, Config

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

    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return Address(host.strip("[]"), int(port))


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
