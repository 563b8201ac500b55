"""Prints how large the image is to fetch, and how long it takes from the start of the process until it is ready.

By hand, after ``make test-pod``: ``.venv/bin/python -m tests.pod.measure``. Nothing is asserted: machines differ.
"""

# ruff: noqa: T201  (it prints)

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.pod.engine import CONFIG, HARDENED, IMAGE, podman, sizes

STARTS = 9
MEASURE = f"""
import socket, statistics, subprocess, sys, time, urllib.request
def ready():
    try:
        with urllib.request.urlopen("http://127.0.0.1:9464/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
taken = []
for _ in range({STARTS}):
    began = time.perf_counter()
    process = subprocess.Popen(["backstay", "run", "/etc/backstay"], stdout=subprocess.DEVNULL)
    while not ready():
        time.sleep(0.005)
    taken.append(time.perf_counter() - began)
    process.terminate()
    process.wait()
print(f"process start to ready: {{min(taken):.2f}} s at best, {{statistics.median(taken):.2f}} s in the middle")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        base, *ours = sizes(folder / "image")
        print(f"compressed: {(base + sum(ours)) / 1e6:.1f} MB, {base / 1e6:.1f} MB of it are the base")
        config = folder / "config"
        config.mkdir(mode=0o755)
        (config / "backstay.yaml").write_text(CONFIG)
        options = (*HARDENED, "--tmpfs=/tmp", f"--volume={config}:/etc/backstay:ro")
        print(podman("run", "--rm", *options, "--entrypoint=python", IMAGE, "-c", MEASURE))


if __name__ == "__main__":
    main()
