"""The names of entries, and what a store's error says."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from proxy.stores.base import IDENT, StoreError, digest_of, ident_of


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_two_keys_have_two_digests(one: str, other: str) -> None:
    """Whatever text they are, and always the same for the same key."""
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_an_ident_is_the_beginning_of_the_digest() -> None:
    """So that what is found by its ident can be checked against its digest."""
    assert digest_of("key").startswith(ident_of("key"))
    assert len(ident_of("key")) == IDENT


def test_an_error_says_who_failed_to_do_what_and_why() -> None:
    """In one line for the log, and in parts for those who count."""
    error = StoreError("redis", "get", "no answer")
    assert str(error) == "redis: get: no answer"
    assert (error.store, error.what, error.why) == ("redis", "get", "no answer")


def modules_after(statement: str) -> set[str]:
    """Which of the modules in question a fresh process has after a statement."""
    code = f"import sys; {statement}; print(*{{'aiocache', 'redis'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_who_caches_nothing_loads_nothing() -> None:
    """The promise alone costs no memory."""
    assert modules_after("import proxy.stores.base") == set()


def test_who_caches_in_memory_does_not_load_redis() -> None:
    """Its importing package would, for nothing: 8 MB."""
    assert modules_after("import proxy.stores.memory") == {"aiocache"}


def test_both_kinds_can_be_loaded_in_either_order() -> None:
    """What memory.py keeps out is only kept out of its own imports."""
    assert modules_after("import proxy.stores.memory, proxy.stores.redis") == {"aiocache", "redis"}
    assert modules_after("import proxy.stores.redis, proxy.stores.memory") == {"aiocache", "redis"}
