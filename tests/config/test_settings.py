"""The settings that the rest of the program sees."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from proxy.config.settings import Address, Config, Policies
from proxy.core.breaker import BreakerSettings


def test_an_address_reads_as_it_is_written() -> None:
    """An IPv6 host gets its brackets."""
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(Address("::1", 80)) == "[::1]:80"


def test_secrets_are_not_in_a_representation() -> None:
    """Somebody will log a Config one day."""
    assert "s3cret" not in repr(Config(admin_token="s3cret", stores_shared="redis://:s3cret@h"))


def test_settings_are_frozen() -> None:
    """A runtime is replaced, never changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().log_level = "debug"  # type: ignore[misc]


def test_an_api_without_policies_has_timeouts_and_a_breaker() -> None:
    """Every other policy is absent until its key is there."""
    policies = Policies()
    assert policies.breaker == BreakerSettings()
    assert (policies.retry, policies.rate_limit, policies.cache, policies.fallback) == (None, None, None, None)


def test_settings_bring_no_pydantic() -> None:
    """They are what stays in memory."""
    code = "import sys, proxy.config.settings; print({'yaml', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
