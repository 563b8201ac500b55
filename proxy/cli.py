"""The command line: ``backstay run | health | check | explain | schema | demo | version``, and what is beside these.

The entry point of the distribution and of ``python -m proxy``. Each command imports what it needs on its own,
so that ``backstay version`` does not pay for a web server.

Exit codes: 0 as asked; 1 a bad configuration, a port that is taken, a failed demonstration; 2 wrong usage;
130 ended by Ctrl-C. Errors that a user can mend are sentences on standard error, never tracebacks.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy import __version__
from proxy.agent.commands import add_ca, add_doctor, add_env, add_prepare, add_redirect
from proxy.command import (
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    Command,
    Failure,
    add,
    add_config,
    bad_config,
    count,
    duration,
    host_port,
    load,
    os_failure,
    present,
)
from proxy.kubernetes.commands import add_inject, add_injector

if TYPE_CHECKING:
    from proxy.command import Commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(argv)
    command: Command = options.command
    try:
        return command(options)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # `backstay schema | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("backstay: interrupted", file=sys.stderr)
        return INTERRUPTED


# --- commands --------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    if os.getpid() == 1:
        _heed_sigterm()
    present(options.config)
    from proxy.app import run
    from proxy.config.load import ConfigError
    from proxy.lingering import Stay

    try:
        return run(options.config, os.environ, Stay(options.linger, options.with_agent))
    except ConfigError as error:
        raise bad_config(error.problems) from None
    except OSError as error:
        raise os_failure(error) from None


def _heed_sigterm() -> None:
    """The first process of a container gets no signal that it has no handler for: a start could not be ended."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))


def _health(options: argparse.Namespace) -> int:
    from proxy.health import UnwellError, wait

    host, port = options.at
    path, word = ("/readyz", "ready") if options.ready else ("/healthz", "alive")
    try:
        wait(host, port, path, options.wait)
    except UnwellError as error:
        raise Failure(f"backstay: {error}") from None
    print(word)
    return OK


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    routes = sum(len(api.routes) for api in config.apis)
    print(f"ok: {count(len(config.apis), 'api')}, {count(routes, 'route')}")
    return OK


def _explain(options: argparse.Namespace) -> int:
    from proxy.config.explain import explain

    config = load(options.config)
    try:
        print(explain(config, options.method, options.url))
    except ValueError as error:
        print(f"backstay: {error}", file=sys.stderr)
        return USAGE
    return OK


def _schema(_: argparse.Namespace) -> int:
    import json

    from proxy.config.jsonschema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return OK


def _demo(options: argparse.Namespace) -> int:
    from proxy.demo.sidecar import DemoError
    from proxy.demo.stage import Options, run

    try:
        return run(Options(duration=options.duration, seed=options.seed, json=options.json))
    except DemoError as error:
        raise Failure(f"backstay: {error}") from None


def _version(_: argparse.Namespace) -> int:
    print(f"backstay {__version__}")
    return OK


# --- the parser ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="backstay",
        description="A resilience sidecar for the API calls of AI agents: timeouts, retries, rate limits and a "
        "circuit breaker, without a change to the agent.",
        epilog="examples:\n"
        "  backstay demo                        see what it does, in under a minute\n"
        "  backstay check backstay.yaml         find every mistake in a configuration\n"
        "  backstay run backstay.yaml           serve\n\n"
        "`backstay COMMAND --help` tells more about a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_one in (
        _add_run,
        _add_health,
        _add_check,
        _add_explain,
        _add_schema,
        add_env,
        add_doctor,
        add_redirect,
        add_ca,
        add_prepare,
        add_inject,
        add_injector,
        _add_demo,
        _add_version,
    ):
        add_one(commands)
    return parser


def _add_run(commands: Commands) -> None:
    text = (
        "serve with a configuration\n\n"
        "Runs until SIGTERM or SIGINT, then lets the calls under way finish (drain.timeout); a second signal\n"
        "ends at once. SIGHUP, or a change of the file, reloads it; a bad file changes nothing."
    )
    examples = ("backstay run backstay.yaml", "backstay run /etc/backstay --linger 5")
    parser = add(commands, "run", _run, text, *examples)
    add_config(parser)
    parser.add_argument(
        "--linger",
        type=duration(0.0),
        default=0.0,
        metavar="SECONDS",
        help="after SIGTERM, not ready but serving as ever, until there has been no call for so long; then drain. "
        "drain.timeout bounds both together (default: %(default)g)",
    )
    parser.add_argument(
        "--with-agent",
        action="store_true",
        help="end when the agent's processes have ended, and after SIGTERM not before them: in a pod that has "
        "shareProcessNamespace, whose other processes are the agent's",
    )


def _add_health(commands: Commands) -> None:
    text = (
        "ask a running Backstay whether it is well\n\n"
        "Asks listen.metrics for /healthz (the process lives) or /readyz (it serves, and is not about to end). Exit\n"
        "code 0 if it is so, else 1. For probes in images that have no curl."
    )
    parser = add(commands, "health", _health, text, "backstay health", "backstay health --ready --wait 60")
    parser.add_argument(
        "--at",
        type=host_port,
        default=("127.0.0.1", 9464),
        metavar="HOST:PORT",
        help="where listen.metrics is (default: 127.0.0.1:9464)",
    )
    parser.add_argument("--ready", action="store_true", help="ask /readyz instead of /healthz")
    parser.add_argument(
        "--wait", type=duration(0.0), default=0.0, metavar="SECONDS", help="ask again until it is so, for so long"
    )


def _add_check(commands: Commands) -> None:
    text = (
        "find every mistake in a configuration\n\n"
        "Prints each as file:line:column with what to write instead. Exit code 0 if there is none, else 1."
    )
    add_config(add(commands, "check", _check, text, "backstay check backstay.yaml", "backstay check /etc/backstay"))


def _add_explain(commands: Commands) -> None:
    text = (
        "say what would happen to a call\n\n"
        "Prints the api and the route that a call belongs to, and every setting that applies to it with the\n"
        "line of the configuration that it came from. Nothing is sent."
    )
    examples = (
        "backstay explain backstay.yaml GET http://127.0.0.1:7070/github/zen",
        "backstay explain backstay.yaml POST https://api.stripe.com/v1/charges",
    )
    parser = add(commands, "explain", _explain, text, *examples)
    add_config(parser)
    parser.add_argument("method", metavar="METHOD", help="GET, POST, ...")
    parser.add_argument("url", metavar="URL", help="as the agent would call it, or the vendor's own URL")


def _add_schema(commands: Commands) -> None:
    text = "print the JSON Schema of the configuration\n\nFor editors and for charts."
    add(commands, "schema", _schema, text, "backstay schema > backstay.schema.json")


def _add_demo(commands: Commands) -> None:
    from proxy.demo import DURATION, SEED, SHORTEST

    text = (
        "watch one agent with and without Backstay\n\n"
        "Starts two copies of a vendor that misbehaves (12% of answers are errors, 5% never come, some come late,\n"
        "and there is an outage of 20 s) and two copies of an ordinary agent: one calls its vendor directly, the\n"
        "other through Backstay. Everything runs on this machine and ends by itself. Exit code 1 if the\n"
        "demonstration did not show what it should."
    )
    parser = add(commands, "demo", _demo, text, "backstay demo", "backstay demo --duration 15 --json | jq .backstay")
    parser.add_argument(
        "--duration", type=duration(SHORTEST), default=DURATION, metavar="SECONDS", help="default: %(default)g"
    )
    parser.add_argument("--json", action="store_true", help="print nothing but one JSON object at the end")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="another story (default: %(default)s)")


def _add_version(commands: Commands) -> None:
    add(commands, "version", _version, "print the version", "backstay version")
