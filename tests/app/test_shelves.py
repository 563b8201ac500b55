"""Tests of shelves.py: whose answers stand on one shelf."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.clock import Clock
from proxy.config.settings import Api
from proxy.core.cache import CacheSettings
from proxy.core.placeholders import Credential
from proxy.shelves import Shelves
from proxy.telemetry.metrics import Registry

KEY = Credential(b"x-key", b"s3cret-1")
API = Api("x", "http", "x", 80, credentials=(KEY,))


@pytest.fixture
async def shelves(clock: Clock) -> Shelves:
    return Shelves(clock, Registry())


def key(shelves: Shelves, api: Api) -> str:
    return shelves.shelf(api, CacheSettings()).key("", b"GET", b"/")


async def test_what_is_seen_with_the_same_credentials_is_shared(shelves: Shelves) -> None:
    """With the pods that have them, too; what stands for them in the agent is no part of it."""
    again = replace(API, credentials=(replace(KEY, placeholder=b"bs_x_key"),))
    assert key(shelves, again) == key(shelves, API)
    assert "s3cret" not in key(shelves, API)


@pytest.mark.parametrize(
    "credentials",
    [
        (),
        (Credential(b"x-key", b"s3cret-2"),),
        (Credential(b"x-kez", b"s3cret-1"),),
        (Credential(b"x-key", b"s3cret-1", query=True),),
        (KEY, Credential(b"x-tenant", b"2")),
        (Credential(b"x-keys", b"3cret-1"),),
    ],
)
async def test_what_is_seen_with_others_is_not(shelves: Shelves, credentials: tuple[Credential, ...]) -> None:
    """An agent that has no key of its own says nothing of whose data it gets."""
    assert key(shelves, replace(API, credentials=credentials)) != key(shelves, API)
