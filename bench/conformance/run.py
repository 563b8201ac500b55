"""`make conformance`: an independent suite for HTTP caches, run against Backstay and its peers.

`--caches Backstay,nginx` runs some caches, and prints without writing. `--test ID` shows what client and origin sent
in one test of the suite.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.conformance import report, suite
from bench.conformance.caches import Cache, all_caches, started


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make conformance ARGS=...", description=__doc__)
    parser.add_argument("--caches", default="", help="names of the caches (default: all)")
    parser.add_argument("--test", default="", help="id of one test of the suite")
    parser.add_argument("--write", action="store_true", help="write CONFORMANCE.* after a partial run too")
    return parser.parse_args()


def chosen_caches(names: str) -> list[Cache]:
    """The caches that are asked for; those that this machine lacks end the run."""
    known = all_caches()
    wanted = {name.strip().lower() for name in names.split(",") if name.strip()}
    if unknown := wanted - {cache.peer.name.lower() for cache in known}:
        raise SystemExit(f"unknown caches: {', '.join(sorted(unknown))}")
    chosen = [cache for cache in known if not wanted or cache.peer.name.lower() in wanted]
    if lacking := [cache.peer.name for cache in chosen if cache.peer.missing()]:
        raise SystemExit(f"not installed: {', '.join(lacking)}")
    return chosen


def measure(caches: Sequence[Cache], folder: Path) -> dict[str, list[suite.Verdict]]:
    """The suite's verdicts on each cache, one after the other."""
    run = {}
    with suite.origin(folder) as upstream:
        for cache in caches:
            with started(cache, folder, upstream) as port:
                run[cache.peer.name] = verdicts = suite.verdicts(port)
            counts = "  ".join(f"{kind} {report.score(report.of_kind(verdicts, kind))}" for kind in report.KINDS)
            print(f"{cache.peer.name:10} {counts}", flush=True)
    return run


def show(cache: Cache, test: str, folder: Path) -> None:
    """One test in full."""
    with suite.origin(folder) as upstream, started(cache, folder, upstream) as port:
        print(f"{cache.peer.name}\n{suite.client(port, test)}")
    print((folder / "origin.log").read_text())


def main() -> None:
    """Run, print, write."""
    options = arguments()
    caches = chosen_caches(options.caches)
    suite.install()
    with tempfile.TemporaryDirectory(prefix="backstay-conformance-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Squid gives up root
        if options.test:
            show(caches[0], options.test, folder)
            return
        run = measure(caches, folder)
    told = {f"{cache.peer.name} {cache.peer.said_version()}": cache.told for cache in caches}
    print(report.markdown(run, told, suite.version()))
    if options.write or not options.caches:
        report.write(run, told, suite.version(), Path(__file__).parents[1])


if __name__ == "__main__":
    main()
