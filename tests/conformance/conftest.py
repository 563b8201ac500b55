"""One sidecar for all conformance tests of a session, before one scripted origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conformance.origin import Origin
from tests.conformance.steps import Play
from tests.support.process import Sidecar, document, write

BOTH: Final = ("shared", "credential")
"""The apis by whose rules most of RFC 9111 is the same."""

APIS: Final[dict[str, dict[str, Any]]] = {
    "shared": {"scope": "shared"},
    "credential": {},
    "strict": {"scope": "shared", "stale_if_error": "off", "stale_while_revalidate": "off"},
    "ttl": {"mode": "ttl", "ttl": "1m"},
    "ttl-shared": {"mode": "ttl", "ttl": "1m", "scope": "shared"},
    "reads": {"scope": "shared", "key_body": True},
}
"""Mount and name -> ``cache``."""

_SIDECAR = pytest.StashKey[Sidecar]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what the sidecar printed beside a failure."""
    report = yield
    if report.failed and (sidecar := item.session.stash.get(_SIDECAR, None)):
        report.sections.append(("sidecar", sidecar.transcript()[-4000:]))
    return report


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Play]:
    """Plays cases. No breaker: origins that fail are part of the tests."""
    folder = tmp_path_factory.mktemp("conformance")
    with Origin() as origin:
        apis = {name: {"url": origin.url, "breaker": "off", "cache": cache} for name, cache in APIS.items()}
        write(folder / "backstay.yaml", document(apis))
        sidecar = request.session.stash[_SIDECAR] = Sidecar(folder, folder / "backstay.yaml")
        try:
            yield Play(sidecar.start(), origin)
        finally:
            sidecar.stop()
