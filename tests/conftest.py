"""How hard property tests look. Read by pytest before any test; ``make test PROFILE=brief`` chooses."""

from __future__ import annotations

from hypothesis import settings

# For a run with coverage, where the compiled build is tested with all of them besides: enough to run each line.
settings.register_profile("brief", settings.get_profile("ci"), max_examples=20)
