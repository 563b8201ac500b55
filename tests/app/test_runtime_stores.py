"""Tests of runtime.py: a store that cannot be made is found out before anything has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.runtime import Runtime
from tests.app.conftest import Writes
from tests.support.script import Rig

NOWHERE = "redis://127.0.0.1:1/0"


def api(user: str, place: str) -> str:
    """An api with ``user`` in its own policies, or in those of its route."""
    route = f"routes: [{{name: r, match: {{paths: [/r]}}, {user}}}]"
    return f"\n  x: {{url: 'http://x', {user if place == 'api' else route}}}\n"


@pytest.mark.parametrize("place", ["api", "route"])
@pytest.mark.parametrize("user", ["idempotency: {store: shared, scope: api}", "cache: {store: shared}"])
async def test_a_bad_certificate_of_the_shared_store_changes_nothing(
    rig: Rig, writes: Writes, tmp_path: Path, user: str, place: str
) -> None:
    """The ledger and the cache that are in use stay in use."""
    bad = f"rediss://127.0.0.1:1/0?ssl_ca_certs={tmp_path / 'missing.pem'}"
    before = f"{api(user, place)}stores: {{shared: '{NOWHERE}'}}\n"
    Runtime(load([writes(before)], {}), rig.parts, b"test")
    stores = [*rig.survivors.ledgers.stores.values(), *rig.survivors.shelves.stores.values()]
    with pytest.raises(OSError, match=r"the certificates of the Redis server: .*No such file"):
        Runtime(load([writes(before.replace(NOWHERE, bad))], {}), rig.parts, b"test")
    assert [*rig.survivors.ledgers.stores.values(), *rig.survivors.shelves.stores.values()] == stores
    assert len(stores) == 1
    await rig.survivors.ledgers.close()
    await rig.survivors.shelves.close()


async def test_a_store_in_which_nothing_is_kept_is_not_tried(rig: Rig, writes: Writes) -> None:
    """Its client costs memory."""
    plain = "\n  x: {url: 'http://x', cache: {}, idempotency: {}}\n"
    Runtime(load([writes(f"{plain}stores: {{shared: 'rediss://x/0?ssl_ca_certs=/missing'}}\n")], {}), rig.parts, b"t")
    assert set(rig.survivors.ledgers.stores) == {"memory"}
