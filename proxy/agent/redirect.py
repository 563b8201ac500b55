"""``backstay redirect``: prints, applies or removes the rules that redirect an agent's connections.

Called by ``commands.py``; what the rules say is in netfilter.py. They are those of the network namespace that this runs
in, and need its CAP_NET_ADMIN: in a pod, that of an init container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from proxy.agent.netfilter import Plan, Step, plan, removal

Action: TypeAlias = Literal["print", "apply", "remove"]

TOOLS: Final = ("nft", "iptables", "iptables-legacy", "iptables-nft")
"""In the order in which they are tried. ``iptables`` is whichever of the other two this system prefers."""
_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not in the PATH of everybody
_SECONDS: Final = 30.0  # for one run of a tool
_DENIED: Final = ("not permitted", "permission denied", "must be root")
_IPV6: Final = Path("/proc/net/if_inet6")


class RedirectError(OSError):
    """The rules could not be made, applied or removed; the message says what to do."""


class _NotAllowed(RedirectError):
    """Whoever runs this may not change rules, by any tool."""


def main(
    *,
    action: Action,
    uid: int | None = None,
    port: int = 0,
    exclude_ports: Sequence[int] = (),
    exclude_networks: Sequence[str] = (),
    tool: str | None = None,
    force: bool = False,
    path: str | None = None,
) -> str:
    """Do it; returns what there is to print. Raises RedirectError.

    ``uid`` is Backstay's, ``port`` that of ``listen.transparent``; ``remove`` asks for neither. Without ``tool`` the
    first that works here is taken, and rules that any of them made are removed. ``force`` permits a ``uid`` of 0.
    ``path`` is where tools are sought, if not in PATH and the usual places of administration.
    """
    if tool is not None and tool not in TOOLS:
        raise RedirectError(f"{tool} is no tool for this: there are {', '.join(TOOLS)}")
    tools = _Tools(os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN]) if path is None else path)
    if action == "remove":
        return _remove(tools, tool)
    if uid is None:
        raise RedirectError("say whose connections are to pass: --uid is the user id that Backstay runs as")
    if uid == 0 and not force:
        raise RedirectError(
            "with uid 0, everything that root does would pass unseen, the agent included wherever it runs as root: "
            "run Backstay as a user of its own, and give that user's id"
        )

    def planned(name: str) -> Plan:
        try:
            return plan(
                uid=uid,
                port=port,
                exclude_ports=exclude_ports,
                exclude_networks=exclude_networks,
                tool=name,
                ipv6=_IPV6.exists(),
            )
        except ValueError as error:
            raise RedirectError(str(error)) from None

    if action == "print":
        return planned(tool or next(iter(tools.installed()), TOOLS[0])).script()
    chosen = _first_that_works(tools, [planned(name) for name in tools.wanted(tool)])
    tools.run(chosen.apply)
    return f"New TCP connections of every user but {uid} go to port {port} now ({chosen.tool})."


def _first_that_works(tools: _Tools, plans: Iterable[Plan]) -> Plan:
    """A tool may be installed whose half in the kernel is missing."""
    refusals = []
    for each in plans:
        try:
            tools.run(each.trial)
        except _NotAllowed:
            raise
        except RedirectError as error:
            refusals.append(str(error))
        else:
            return each
    raise RedirectError(f"connections cannot be redirected here, the kernel may lack nat: {'; '.join(refusals)}")


def _remove(tools: _Tools, tool: str | None) -> str:
    used = [name for name in tools.wanted(tool) if tools.run(removal(name, ipv6=_IPV6.exists()))]
    return f"The rules are removed ({used[0]})." if used else "There were no rules to remove."


class _Tools:
    """The programs that change rules, sought in ``path``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def installed(self) -> list[str]:
        """Those that there are, the preferred first."""
        return [name for name in TOOLS if self._find(name) is not None]

    def wanted(self, tool: str | None) -> list[str]:
        """Those to try: all that there are, or the one that is asked for. Raises RedirectError: there is none."""
        found = [name for name in self.installed() if tool in {None, name}]
        if not found:
            which = "neither nft nor iptables is" if tool is None else f"{tool} is not"
            raise RedirectError(f"{which} installed: install nftables, or iptables")
        return found

    def run(self, steps: Iterable[Step]) -> int:
        """Run what applies of it; returns how many did. Raises RedirectError."""
        return sum(self._step(step) for step in steps)

    def _find(self, name: str) -> str | None:
        return shutil.which(name, path=self._path)

    def _step(self, step: Step) -> bool:
        if (step.check and self._call(step.check)) or (step.unless and not self._call(step.unless)):
            return False
        refusal = self._call(step.argv, step.stdin)
        if refusal:
            raise RedirectError(f"{step.argv[0]} refuses the rules: {refusal}")
        return True

    def _call(self, argv: Sequence[str], stdin: str = "") -> str:
        """Why it failed, or nothing. Raises RedirectError: it cannot be run, or not by this user."""
        program = self._find(argv[0])
        if program is None:
            raise RedirectError(
                f"{argv[0]} is not installed: install iptables with all that belongs to it, or nftables"
            )
        try:
            done = subprocess.run(  # noqa: S603  its words are ours
                [program, *argv[1:]], input=stdin, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise RedirectError(f"{argv[0]} cannot be run: {error}") from None
        if done.returncode == 0:
            return ""
        said = (done.stderr.strip() or f"it ended with status {done.returncode}").splitlines()[0]
        if any(each in said.lower() for each in _DENIED):
            raise _NotAllowed(
                "rules need CAP_NET_ADMIN in this network namespace: run this as root, in Kubernetes as an init "
                f"container with capabilities.add [NET_ADMIN] ({argv[0]}: {said})"
            )
        return said
