"""core/cross_site.py: which calls by mount a page may have made."""

from __future__ import annotations

import pytest

from proxy.core.cross_site import of_a_page
from proxy.model import Headers

AGENT = Headers.of((b"User-Agent", b"python"))


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1:7070", b"[::1]:7070", b"::1", b"2130706433", b"10.1.2.3:80",
        b"localhost:7070", b"LOCALHOST", b"a.localhost", b"backstay:7070", b"mac.local", b"",
        b"backstay.agents.svc:7070", b"backstay.agents.svc.cluster.local",
    ],
)  # fmt: skip
def test_the_names_of_a_base_url(host: bytes) -> None:
    """Addresses, and names that the public DNS does not have."""
    assert not of_a_page(host, AGENT)


@pytest.mark.parametrize("host", [b"evil.example:7070", b"a.b", b"EVIL.EXAMPLE.", b"127.0.0.1.evil.example"])
def test_a_name_of_the_public_dns(host: bytes) -> None:
    """It may have been rebound to loopback."""
    assert of_a_page(host, AGENT)


@pytest.mark.parametrize(
    ("site", "page"),
    [(b"cross-site", True), (b"same-site", True), (b"same-origin", False), (b"none", False)],
)
def test_what_browsers_say_of_the_site(site: bytes, page: bool) -> None:
    """A page of Backstay's own origin does not exist; the user typing an address is no page."""
    assert of_a_page(b"127.0.0.1:7070", Headers.of((b"Sec-Fetch-Site", site))) is page
