"""Settings: policies merged, defaults in their place, origins kept."""

from __future__ import annotations

from collections.abc import Callable

import certifi
import pytest

from proxy.config.settings import Address, Api, Config, Limits, Listen, Policies, Tls
from proxy.core.breaker import BreakerSettings
from proxy.core.bucket import RateSettings
from proxy.core.classify import ClassifySettings
from proxy.core.retry import RetrySettings
from proxy.core.routing import Match
from proxy.core.timeouts import Timeouts


def policies(loads: Callable[[str], Config], keys: str, defaults: str = "") -> Policies:
    text = f"version: 1\ndefaults: {{{defaults}}}\napis:\n  x:\n    url: http://x\n    {keys}\n"
    return loads(text).apis[0].policies


def test_the_defaults_are_those_of_the_cores(loads: Callable[[str], Config]) -> None:
    """The schema writes them for people, the cores for the program: they are the same."""
    config = loads("version: 1\napis: {x: {url: https://x}}")
    assert (config.listen, config.limits, config.drain_timeout) == (Listen(), Limits(), 30.0)
    assert (config.log_level, config.log_access, config.admin_token) == ("info", "errors", None)
    (api,) = config.apis
    assert api == Api("x", "https", "x", 443, line=api.line)
    assert api.policies == Policies(Timeouts(), BreakerSettings(), None, None, ClassifySettings())


def test_an_empty_policy_is_on_with_its_defaults(loads: Callable[[str], Config]) -> None:
    """`{}` is all it takes."""
    assert policies(loads, "retry: {}").retry == RetrySettings()
    assert policies(loads, "rate_limit: {rate: 100/s}").rate_limit == RateSettings(rate=100.0)


def test_every_setting_arrives(loads: Callable[[str], Config]) -> None:
    """Each key of each policy, in the units of its core."""
    given = policies(
        loads,
        """timeout: {total: 1m, connect: 1s, first_byte: off, idle: false, stream: 1h}
    breaker: {window: 10s, min_calls: 2, error_ratio: off, consecutive: off, slow_call: 2s, slow_ratio: 50%, open: 1s,
      max_open: 2s, probes: 1, ramp: off, scope: host, mode: shadow}
    retry: {attempts: 5, backoff: {base: 1s, max: 3s}, budget: off, when: [reset, 429], replay_body: off, safe: true,
      mode: shadow}
    rate_limit: {rate: 5/100ms, burst: 1, wait: 2s, key: "header:X-T", store: memory, mode: shadow}
    classify: {failure: [500, 502-504], ignore: [501]}""",
    )
    assert given.timeout == Timeouts(60.0, 1.0, None, None, 3600.0)
    assert given.breaker == BreakerSettings(10.0, 2, None, None, 2.0, 0.5, 1.0, 2.0, 1, 0.0, "host", "shadow")
    assert given.retry == RetrySettings(5, 1.0, 3.0, None, frozenset({"reset", "429"}), 0, safe=True, mode="shadow")
    assert given.rate_limit == RateSettings(50.0, 1, 2.0, "header:x-t", "memory", "shadow", 0.1, 5)
    assert given.classify == ClassifySettings(((500, 500), (502, 504)), ((501, 501),))


@pytest.mark.parametrize("off", ["off", "false", "'off'"])
def test_off_removes_a_policy(off: str, loads: Callable[[str], Config]) -> None:
    """Whichever way a templating tool has written it."""
    given = policies(loads, f"breaker: {off}\n    retry: {off}", defaults="retry: {attempts: 9}")
    assert (given.breaker, given.retry) == (None, None)


def test_routes_are_laid_over_apis_and_apis_over_defaults(loads: Callable[[str], Config]) -> None:
    """Key by key; a policy that was off is on again by its key; lists replace."""
    text = """\
version: 1
defaults: {timeout: {total: 1m, connect: 1s}, retry: {attempts: 2, when: [reset, 502]}, breaker: off}
apis:
  x:
    url: http://x
    timeout: {total: 2m}
    retry: {when: [503]}
    routes:
      - {name: a, match: {paths: [/a]}, timeout: {connect: 9s}, retry: off, breaker: {probes: 7}}
      - {name: b, match: {methods: [GET, POST]}, retry: {backoff: {max: 4s}}}
"""
    (api,) = loads(text).apis
    a, b = api.routes
    assert api.policies.timeout == Timeouts(total=120.0, connect=1.0)
    assert (api.policies.breaker, api.policies.retry) == (None, RetrySettings(attempts=2, when=frozenset({"503"})))
    assert (a.match, a.policies.timeout) == (Match(paths=("/a",)), Timeouts(total=120.0, connect=9.0))
    assert (a.policies.retry, a.policies.breaker) == (None, BreakerSettings(probes=7))
    assert b.match == Match(methods=frozenset({b"GET", b"POST"}))
    assert b.policies.retry == RetrySettings(attempts=2, max=4.0, when=frozenset({"503"}))


def test_an_api_has_its_place_its_names_and_its_pool(loads: Callable[[str], Config]) -> None:
    """Url, mount, hosts, TLS and connections, as the wire takes them."""
    ca_file = certifi.where()
    text = f"""\
version: 1
apis:
  x:
    url: https://API.x:8443/v1/
    mount: /x
    hosts: [X.internal]
    tls: {{server_name: Y, ca_file: {ca_file}}}
    connections: {{max: 7, idle: 5s}}
"""
    (api,) = loads(text).apis
    assert (api.scheme, api.host, api.port, api.base_path) == ("https", "api.x", 8443, "/v1")
    assert (api.mount, api.hosts, api.tls) == ("/x", ("x.internal",), Tls(ca_file=ca_file, server_name="y"))
    assert (api.max_connections, api.idle_connection, api.line.rpartition(":")[2]) == (7, 5.0, "3")


def test_the_process_has_its_settings(loads: Callable[[str], Config]) -> None:
    """Addresses, limits, drain and log."""
    text = """\
version: 1
listen: {agent: "[::1]:1", metrics: off, admin: false}
limits: {connections: 5, header_bytes: 4KiB, body_bytes: 1MiB}
drain: {timeout: 0s}
log: {level: debug, access: false}
apis: {x: {url: http://x}}
"""
    config = loads(text)
    assert config.listen == Listen(Address("::1", 1), None, None)
    assert str(config.listen.agent) == "[::1]:1"
    assert config.limits == Limits(5, 4096, 1 << 20)
    assert (config.drain_timeout, config.log_level, config.log_access) == (0.0, "debug", "off")


def test_what_is_effective_has_every_setting_in_one_form(loads: Callable[[str], Config]) -> None:
    """For people: defaults included, switches as off, routes by name."""
    text = "version: 1\napis: {x: {url: http://x, routes: [{name: r, match: {paths: [/]}, timeout: {total: 90s}}]}}"
    effective = loads(text).effective
    assert effective["tls_intercept"] == "off"
    assert effective["limits"]["memory"] == {"cache": "64MiB", "idempotency": "32MiB"}
    assert effective["apis"]["x"]["retry"] == "off"
    assert effective["apis"]["x"]["routes"]["r"]["match"] == {"methods": None, "paths": ["/"]}
    assert effective["apis"]["x"]["routes"]["r"]["timeout"]["total"] == "1m30s"
    assert "defaults" not in effective


def test_a_secret_in_a_list_is_masked(loads: Callable[..., Config]) -> None:
    """Masking follows the value wherever it stands."""
    config = loads("version: 1\napis: {x: {url: http://x, hosts: [a, '${env:H}']}}", H="b")
    assert config.apis[0].hosts == ("a", "b")
    assert config.effective["apis"]["x"]["hosts"] == ["a", "****"]


def test_every_setting_knows_its_line(loads: Callable[[str], Config]) -> None:
    """That of the layer that set it; a default has none."""
    text = """\
version: 1
defaults: {timeout: {total: 1m}}
apis:
  x:
    url: http://x
    timeout: {connect: 1s}
    routes:
      - name: r
        match: {paths: [/]}
        breaker: off
"""
    origins = {path: int(origin.rpartition(":")[2]) for path, origin in loads(text).origins.items()}
    assert (origins["version"], origins["apis.x"], origins["apis.x.url"]) == (1, 4, 5)
    assert (origins["apis.x.timeout.total"], origins["apis.x.timeout.connect"]) == (2, 6)
    assert (origins["apis.x.routes.r"], origins["apis.x.routes.r.breaker"]) == (8, 10)
    assert origins["apis.x.routes.r.timeout.total"] == 2
    assert "apis.x.breaker" not in origins
