"""The commands for pods: ``backstay inject | injector``. Called by ``cli.py``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.command import FAILED, OK, Failure, add, count, duration, host_port, os_failure, present

if TYPE_CHECKING:
    from proxy.command import Commands
    from proxy.config.settings import Address
    from proxy.kubernetes.manifests import Changed, Report
    from proxy.kubernetes.model import Installation

CAPTURES: Final = ("env", "transparent", "both")  # of model.py, whose import other commands need not wait for
SIDECARS: Final = ("native", "container")
_STDIN: Final = "-"
_MANIFESTS: Final = (".yaml", ".yml", ".json")
_IMAGE: Final = f"backstay:{__version__}"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes mounts a pod's own
_LINGER: Final = 5.0  # seconds in which all nodes learn that a pod is not to be called any more


# --- backstay inject -----------------------------------------------------------------------------------


def add_inject(commands: Commands) -> None:
    """``backstay inject``."""
    text = (
        "put Backstay beside the agents in manifests\n\n"
        "Reads manifests of any kind, puts the sidecar into each pod and pod template that does not say\n"
        'backstay.dev/inject: "false", and prints them all. What else is in them stays as it is, comments and all;\n'
        "what has its sidecar stays altogether. What became of each is said on standard error. If a pod asks for\n"
        "what it cannot have, nothing is printed, and the exit code is 1.\n\n"
        "Pods carry the configuration that --config names. One that names a ConfigMap (backstay.dev/config) mounts\n"
        "that; what it says is read from the manifests. With --config-map all others mount one, too."
    )
    examples = (
        "backstay inject -f agent.yaml --config backstay.yaml | kubectl apply -f -",
        "helm template agent ./chart | backstay inject -f - --config backstay.yaml --capture both",
        "backstay inject -f agent.yaml -f configmap.yaml --config-map backstay",
    )
    parser = add(commands, "inject", _inject, text, *examples)
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="manifests: a file, a directory of them, or - for standard input; may be repeated",
    )
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[], metavar="PATH", help="the configuration: files, or directories"
    )
    parser.add_argument(
        "--config-map", metavar="NAME", help="mount it; its content is --config, or it is among the manifests"
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="what holds for pods that say nothing else")
    parser.add_argument("--image", metavar="IMAGE", help=f"of Backstay (default: that of --settings, else {_IMAGE})")
    parser.add_argument("--capture", choices=CAPTURES, help="how agents are caught, unless a pod says it")
    parser.add_argument("--sidecar", choices=SIDECARS, help="what Backstay is, unless a pod says it")


def _inject(options: argparse.Namespace) -> int:
    present([*options.config, *([options.settings] if options.settings else [])])
    from proxy.kubernetes.filter import Filter
    from proxy.kubernetes.manifests import BadManifest, change, config_maps

    installation = _installation(options)
    try:
        sources = _sources(options.filename)
        maps = {key: data for source, text in sources for key, data in config_maps(text, source).items()}
        ask = Filter(installation, options.config, options.config_map, maps)
        changed = [change(text, source, ask) for source, text in sources]
    except OSError as error:
        raise os_failure(error) from None
    except BadManifest as error:
        raise Failure(f"backstay: {error}") from None
    reports = [report for each in changed for report in each.reports]
    if not _is_told(reports):
        return FAILED
    try:
        sys.stdout.buffer.write(_joined(changed).encode())  # kubectl reads UTF-8, whatever the terminal shows
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise os_failure(error) from None
    return OK


def _installation(options: argparse.Namespace) -> Installation:
    from proxy.kubernetes.settings import BadSettings, defaults, load

    said = {name: getattr(options, name) for name in ("capture", "sidecar") if getattr(options, name) is not None}
    try:
        found = defaults(options.image or _IMAGE) if options.settings is None else load(options.settings)
        image = found.image if options.image is None else defaults(options.image).image
    except BadSettings as error:
        raise Failure(f"backstay: {error}") from None
    return replace(found, image=image, **said)


def _sources(names: list[str]) -> list[tuple[str, str]]:
    """What is to be read, and what is in it. Raises OSError."""
    found: list[tuple[str, str]] = []
    for name in names:
        if name == _STDIN:
            found.append(("standard input", _text("standard input", sys.stdin.buffer.read())))
            continue
        path = Path(name)
        files = sorted(each for each in path.iterdir() if each.suffix in _MANIFESTS) if path.is_dir() else [path]
        found += [(str(file), _text(str(file), file.read_bytes())) for file in files]
    return found


def _text(source: str, data: bytes) -> str:
    """Without the mark that some editors put before UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # PowerShell's `>` writes UTF-16
        raise Failure(f"backstay: {source}: this is not UTF-8; save it as UTF-8") from None


def _is_told(reports: list[Report]) -> bool:
    """Say what became of each; whether none was refused."""
    from proxy.kubernetes.model import Patch, Skipped

    refused = 0
    for name, outcome in reports:
        match outcome:
            case Patch():
                lines = ["injected", *(f"warning: {warning}" for warning in outcome.warnings)]
            case Skipped():
                lines = [f"not injected: {outcome.why}"]
            case _:
                lines, refused = [f"refused: {outcome}"], refused + 1
        for line in lines:
            print(f"{name}: {line}", file=sys.stderr)
    if not reports:
        print("backstay: there is no pod and no template of one in the manifests", file=sys.stderr)
    if refused:
        print(f"backstay: {count(refused, 'workload')} refused, nothing printed", file=sys.stderr)
    return not refused


def _joined(changed: list[Changed]) -> str:
    """One stream: what was in several files is in documents of its own."""
    parts: list[str] = []
    for each in changed:
        if parts and not each.text.startswith("---"):
            parts.append("---\n")
        parts.append(each.text if each.text.endswith("\n") or each is changed[-1] else f"{each.text}\n")
    return "".join(parts)


# --- backstay injector ---------------------------------------------------------------------------------


def add_injector(commands: Commands) -> None:
    """``backstay injector``."""
    text = (
        "serve the webhook that puts Backstay into pods\n\n"
        "The API server asks it when a pod is made: at /inject about pods with annotations, at /inject/namespace\n"
        "about all of a namespace. Changes of --settings, --config and --tls are taken up while it runs; a bad one\n"
        "changes nothing. Runs until SIGTERM or SIGINT; a second signal ends at once. SIGHUP reads all again."
    )
    example = "backstay injector --settings /etc/injector/settings.yaml --config /etc/backstay --tls /tls"
    parser = add(commands, "injector", _injector, text, example)
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="what holds for all pods")
    parser.add_argument(
        "--config", type=Path, nargs="+", required=True, metavar="PATH", help="the configuration that pods carry"
    )
    parser.add_argument("--tls", type=Path, required=True, metavar="DIR", help="with tls.crt and tls.key")
    for name, port, what in (("listen", 8443, "the API server"), ("metrics", 9464, "metrics and probes")):
        default = f"0.0.0.0:{port}"
        parser.add_argument(
            f"--{name}", type=_address, default=default, metavar="HOST:PORT", help=f"for {what} (default: %(default)s)"
        )
    parser.add_argument(
        "--linger",
        type=duration(0),
        default=_LINGER,
        metavar="SECONDS",
        help="serve on after SIGTERM, until all nodes have learned of it (default: %(default)gs)",
    )
    parser.add_argument(
        "--service-account",
        type=Path,
        default=_ACCOUNT,
        metavar="DIR",
        help="with token and ca.crt, to read ConfigMaps that pods name (default: %(default)s)",
    )


def _injector(options: argparse.Namespace) -> int:
    present([options.settings, *options.config, options.tls])
    from proxy.kubernetes.injector import Paths, Ways, run
    from proxy.kubernetes.model import Refused
    from proxy.kubernetes.settings import BadSettings

    paths = Paths(options.settings, tuple(options.config), options.tls)
    ways = Ways(options.listen, options.metrics, options.service_account, options.linger)
    try:
        return run(paths, ways, os.environ)
    except (BadSettings, Refused) as error:
        raise Failure(f"backstay: {error}") from None
    except OSError as error:
        raise os_failure(error) from None


def _address(text: str) -> Address:
    from proxy.config.settings import Address

    return Address(*host_port(text, least=0))  # 0: any free one
