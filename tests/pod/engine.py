"""Podman, as far as tests of the image and of the pod need it. Used by tests/pod; scripts/pod.sh has set it up."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache/pod"
CONFIGURATION: Final = CACHE / "containers.conf"
BASE: Final = "localhost/backstay-base:bookworm"
IMAGE: Final = "localhost/backstay:pod"
PATIENCE: Final = 60.0  # seconds, on a busy machine
HARDENED: Final = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none")
"""As injection has it, of a container that stands alone."""

CONFIG: Final = '{version: 1, listen: {agent: "127.0.0.1:7070", metrics: "127.0.0.1:9464"}, apis: {vendor: {url: "https://vendor.test"}}}'
"""Of a Backstay that stands alone."""

Done = subprocess.CompletedProcess[str]


def run(*command: str, check: bool = True, timeout: float = 100.0, said: str | None = None) -> Done:
    """Of podman or buildah, with ``said`` on standard input. Raises AssertionError, with what it says, if it fails."""
    environment = {**os.environ, "CONTAINERS_CONF": str(CONFIGURATION)}
    done = subprocess.run(
        command, env=environment, input=said, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def podman(*arguments: str, check: bool = True, timeout: float = 100.0) -> str:
    """What podman prints."""
    return run("podman", *arguments, check=check, timeout=timeout).stdout.strip()


def once(*command: str, options: tuple[str, ...] = HARDENED) -> str:
    """What one command prints that runs in the image, in place of Backstay, in a container that is gone after it."""
    program, *arguments = command
    return podman("run", "--rm", *options, "--entrypoint", program, IMAGE, *arguments)


def sizes(folder: Path) -> list[int]:
    """Bytes of each layer as it is fetched, the base's first."""
    podman("push", "--quiet", "--compress", IMAGE, f"dir:{folder}")
    manifest = json.loads((folder / "manifest.json").read_text())
    return [layer["size"] for layer in manifest["layers"]]


def logs(container: str) -> str:
    done = run("podman", "logs", container)
    return done.stdout + done.stderr


def inside(container: str, *command: str) -> str:
    """What a command prints that runs in a container beside what runs there."""
    return podman("exec", container, *command)


def exit_code(container: str) -> int:
    return int(podman("inspect", "--format", "{{.State.ExitCode}}", container))


def until(condition: Callable[[], bool], container: str, seconds: float = PATIENCE) -> None:
    """Wait for what a container does; if it does not, say what it said. Each look is a process: they are not close."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{container} did not do it in {seconds:g} s; it said:\n{logs(container)}"
        time.sleep(0.1)
