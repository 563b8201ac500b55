"""The image by itself: what is in it, how large it is, and how it tells that it is well (``make test-pod``)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.pod.engine import CONFIG, HARDENED, IMAGE, PATIENCE, exit_code, inside, once, podman, run, sizes, until

WITHOUT_BYTECODE = """
import os, sys
import proxy.app, proxy.cli, proxy.config.load
specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
print([spec.origin for spec in specs if spec and spec.cached and not os.path.exists(spec.cached)])
"""


@pytest.fixture
def container() -> Iterator[str]:
    """The name of one, which is gone after the test."""
    name = f"backstay-{uuid4().hex[:8]}"
    yield name
    podman("rm", "--force", "--time=0", name, check=False)


def test_is_less_than_90_mb_to_fetch(tmp_path: Path) -> None:
    """Every node fetches it before the first agent starts. Debian with its Python is as large as the official base."""
    assert sum(sizes(tmp_path / "image")) < 90_000_000


def test_says_what_it_is() -> None:
    """Labels of OCI, for whoever finds it in a registry."""
    labels = json.loads(podman("inspect", "--format", "{{json .Config.Labels}}", IMAGE))
    assert labels["org.opencontainers.image.title"] == "backstay"
    assert once("backstay", "version") == f"backstay {labels['org.opencontainers.image.version']}"


def test_has_nothing_that_builds_or_installs() -> None:
    """An intruder finds neither a compiler nor a package manager for Python."""
    found = "import shutil; print([name for name in ('gcc', 'cc', 'ld', 'pip', 'pip3', 'curl') if shutil.which(name)])"
    assert once("python", "-c", found) == "[]"
    assert (
        "No module named pip"
        in run("podman", "run", "--rm", "--entrypoint=python", IMAGE, "-m", "pip", check=False).stderr
    )


def test_what_it_starts_with_is_compiled_to_bytecode() -> None:
    """Under a read-only root nothing could be kept: each start would compile the standard library anew."""
    assert once("python", "-c", WITHOUT_BYTECODE) == "[]"


def test_the_hot_path_is_machine_code() -> None:
    """What mypyc compiled is what is imported."""
    assert once("python", "-c", "import proxy.wire.server as it; print(it.__file__)").endswith(".so")


def test_can_redirect_and_lend_a_shell() -> None:
    """What init containers of this image need: nft, and a busybox that runs in any other image."""
    assert once("nft", "--version").startswith("nftables")
    assert "BusyBox" in once("/usr/lib/backstay/busybox")


def test_its_health_check_holds_while_it_serves(container: str, tmp_path: Path) -> None:
    """HEALTHCHECK of the Dockerfile, as an engine asks it, in a container that may write to nothing but memory."""
    (tmp_path / "backstay.yaml").write_text(CONFIG)
    tmp_path.chmod(0o755)  # it is another user who reads it
    mount = f"--volume={tmp_path}:/etc/backstay:ro"
    podman("run", "--detach", f"--name={container}", *HARDENED, "--tmpfs=/tmp", mount, IMAGE)
    until(lambda: health(container) == 0, container)


def test_a_start_can_be_ended(container: str, tmp_path: Path) -> None:
    """A container's first process gets no signal that it has no handler for. This one waits for its configuration."""
    os.mkfifo(tmp_path / "backstay.yaml")
    mount = f"--volume={tmp_path}/backstay.yaml:/backstay.yaml:ro"
    podman("run", "--detach", f"--name={container}", *HARDENED, mount, IMAGE, "run", "/backstay.yaml")
    until(lambda: catches(signal.SIGTERM, container), container)
    podman("stop", f"--time={PATIENCE:.0f}", container)
    assert exit_code(container) == 0


def catches(number: signal.Signals, container: str) -> bool:
    """Whether the first process there has a handler for it (proc(5))."""
    status = inside(container, "cat", "/proc/1/status").splitlines()
    handled = next(line.split()[1] for line in status if line.startswith("SigCgt"))
    return bool(int(handled, 16) >> (number - 1) & 1)


def test_its_health_check_fails_while_nobody_serves(container: str) -> None:
    """A process that lives is not enough."""
    wait = ("--entrypoint=python", IMAGE, "-c", "import signal; signal.pause()")
    podman("run", "--detach", f"--name={container}", *HARDENED, *wait)
    assert health(container) == 1


def health(container: str) -> int:
    return run("podman", "healthcheck", "run", container, check=False).returncode
