"""Settings: policies merged, defaults in their place, origins kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import certifi
import pytest

from proxy.config.settings import (
    Address,
    Api,
    Config,
    Limits,
    Listen,
    Policies,
    Tls,
    TlsIntercept,
    UpstreamProxy,
)
from proxy.core.breaker import BreakerSettings
from proxy.core.bucket import RateSettings
from proxy.core.classify import ClassifySettings
from proxy.core.egress import EgressSettings, parse_pattern
from proxy.core.fallback import FallbackSettings, ServeStale, Static, ToApi
from proxy.core.freshness import CacheSettings
from proxy.core.idempotency import Derive, IdempotencySettings, StoreErrors
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
    assert (config.stores_shared, config.stores_ledger) == (None, None)
    assert config.effective["stores"] == {"shared": "off", "ledger": "off"}
    (api,) = config.apis
    assert api == Api("x", "https", "x", 443, line=api.line)
    assert api.policies == Policies(Timeouts(), BreakerSettings(), None, None, ClassifySettings())


def test_an_empty_policy_is_on_with_its_defaults(loads: Callable[[str], Config]) -> None:
    """`{}` is all it takes."""
    assert policies(loads, "retry: {}").retry == RetrySettings()
    assert policies(loads, "rate_limit: {rate: 100/s}").rate_limit == RateSettings(rate=100.0)
    assert policies(loads, "cache: {}").cache == CacheSettings()
    assert policies(loads, "idempotency: {}").idempotency == IdempotencySettings()


def test_every_setting_arrives(loads: Callable[[str], Config]) -> None:
    """Each key of each policy, in the units of its core."""
    given = policies(
        loads,
        """timeout: {total: 1m, connect: 1s, first_byte: off, idle: false, stream: 1h}
    breaker: {window: 10s, min_calls: 2, error_ratio: off, consecutive: off, slow_call: 2s, slow_ratio: 50%, open: 1s,
      max_open: 2s, probes: 1, ramp: off, scope: host, mode: shadow}
    retry: {attempts: 5, backoff: {base: 1s, max: 3s}, budget: off, when: [reset, 429], replay_body: off, safe: true,
      mode: shadow}
    rate_limit: {rate: 5/100ms, burst: 1, wait: 2s, key: "header:X-T", store: memory, fallback: true, mode: shadow}
    cache: {mode: ttl, scope: shared, ttl: 1m, key_body: true, vary: [X-B, x-a, X-A], stale_if_error: off,
      stale_while_revalidate: false, stale_wait: 500ms, max_object: 2KiB, store: memory}
    fallback: [stale, {status: 200}]
    classify: {failure: [500, 502-504], ignore: [501]}""",
    )
    assert given.timeout == Timeouts(60.0, 1.0, None, None, 3600.0)
    assert given.breaker == BreakerSettings(10.0, 2, None, None, 2.0, 0.5, 1.0, 2.0, 1, 0.0, "host", "shadow")
    assert given.retry == RetrySettings(5, 1.0, 3.0, None, frozenset({"reset", "429"}), 0, safe=True, mode="shadow")
    assert given.rate_limit == RateSettings(50.0, 1, 2.0, "header:x-t", "memory", "shadow", 0.1, 5, fallback=True)
    vary = (b"x-a", b"x-b")
    assert given.cache == CacheSettings("ttl", "shared", 60.0, True, vary, None, None, 0.5, 2048, "memory")
    assert given.fallback == FallbackSettings((ServeStale(), Static(200)))
    assert given.classify == ClassifySettings(((500, 500), (502, 504)), ((501, 501),))


def test_every_setting_of_idempotency_arrives(loads: Callable[[str], Config]) -> None:
    """A name is sent as it was written; what is compared has one order, however it was written."""
    text = """\
version: 1
stores: {ledger: sqlite:/l.db}
apis:
  x:
    url: http://x
    idempotency: {header: X-Key, require: true, scope: "header:X-T",
      fingerprint: ["header:X-B", body, path, "header:x-a"],
      derive: {from: [body, query], scope: traceparent, window: 5m}, upstream: honours, upstream_header: X-Sent-Key,
      retain: 2h, lease: 5s, max_body: 1KiB, store_errors: {done: [409], released: [500], unknown: [400-408, 429]},
      on_unknown: resend, on_store_error: open, store: ledger, mode: shadow}
"""
    errors = StoreErrors(((409, 409),), ((500, 500),), ((400, 408), (429, 429)))
    assert loads(text).apis[0].policies.idempotency == IdempotencySettings(
        header=b"x-key",
        require=True,
        scope="header:x-t",
        derive=Derive(("query", "body"), "traceparent", 300.0),
        fingerprint=("path", "body", "header:x-a", "header:x-b"),
        upstream="honours",
        upstream_header=b"X-Sent-Key",
        retain=7200.0,
        lease=5.0,
        max_body=1024,
        store_errors=errors,
        on_unknown="resend",
        on_store_error="open",
        store="ledger",
        mode="shadow",
    )


def test_a_key_may_not_be_sent_at_all(loads: Callable[[str], Config]) -> None:
    """Which is not the same as under a name of the vendor's."""
    given = policies(loads, "idempotency: {upstream_header: off, derive: false}").idempotency
    assert given == IdempotencySettings(upstream_header=None, derive=None)


def test_how_keys_are_derived_is_laid_over_like_anything_else(loads: Callable[[str], Config]) -> None:
    """Key by key, and `off` takes it away."""
    text = """\
version: 1
defaults: {idempotency: {derive: {scope: traceparent, window: 1m}}}
apis:
  x:
    url: http://x
    idempotency: {derive: {from: [body]}}
    routes:
      - {name: a, match: {paths: [/a]}, idempotency: {derive: {window: 2m}}}
      - {name: b, match: {paths: [/b]}, idempotency: {derive: off}}
"""
    (api,) = loads(text).apis
    given = [api.policies.idempotency, *(route.policies.idempotency for route in api.routes)]
    derived = (Derive(("body",), "traceparent", 60.0), Derive(("body",), "traceparent", 120.0), None)
    assert given == [IdempotencySettings(derive=derive) for derive in derived]


@pytest.mark.parametrize("off", ["off", "false", "'off'"])
def test_off_removes_a_policy(off: str, loads: Callable[[str], Config]) -> None:
    """Whichever way a templating tool has written it."""
    given = policies(loads, f"breaker: {off}\n    retry: {off}", defaults="retry: {attempts: 9}")
    assert (given.breaker, given.retry) == (None, None)


def test_the_steps_of_a_fallback_stay_in_their_order(loads: Callable[..., Config]) -> None:
    """What is sent is bytes; templates are left for the call, secrets are not."""
    text = """\
version: 1
apis:
  x:
    url: http://x
    cache: {}
    fallback:
      - {api: y}
      - stale
      - {status: 503, headers: {Retry-After: 30, x-key: "${env:KEY}"}, body: "ü ${api}"}
  y: {url: http://y}
"""
    config = loads(text, KEY="s3cret")
    fields = ((b"Retry-After", b"30"), (b"x-key", b"s3cret"), (b"content-type", b"text/plain; charset=utf-8"))
    assert config.apis[0].policies.fallback == FallbackSettings(
        (ToApi("y"), ServeStale(), Static(503, fields, "ü ${api}"))
    )
    assert config.effective["apis"]["x"]["fallback"][2]["headers"] == {
        "Retry-After": "30", "x-key": "****", "content-type": "text/plain; charset=utf-8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "content_type"),
    [
        ("body: ' {\"a\": 1}'", b"application/json"),
        ("body: '[]'", b"application/json"),
        ("body: sorry", b"text/plain; charset=utf-8"),
        ("headers: {Content-Type: text/html}, body: '[]'", b"text/html"),
        ("headers: {x-a: 1}", None),
    ],
)
def test_a_body_has_a_type(answer: str, content_type: bytes | None, loads: Callable[[str], Config]) -> None:
    """The one that is given, once; else what it looks like. No body has none."""
    fallback = policies(loads, f"fallback: [{{status: 200, {answer}}}]").fallback
    assert fallback is not None
    (step,) = fallback.steps
    assert isinstance(step, Static)
    types = [value for name, value in step.headers if name.lower() == b"content-type"]
    assert types == ([] if content_type is None else [content_type])


def test_fallbacks_and_caches_are_laid_over_one_another(loads: Callable[[str], Config]) -> None:
    """A list replaces a list, `off` takes it away; a cache is merged key by key."""
    text = """\
version: 1
defaults: {cache: {stale_wait: 1s}, fallback: [stale, {status: 200}]}
apis:
  x:
    url: http://x
    cache: {mode: ttl, ttl: 5s}
    routes:
      - {name: a, match: {paths: [/a]}, cache: {ttl: 9s}, fallback: [stale]}
      - {name: b, match: {paths: [/b]}, cache: off, fallback: off}
      - {name: c, match: {paths: [/c]}, cache: {mode: rfc9111, ttl: off}}
"""
    (api,) = loads(text).apis
    a, b, c = (route.policies for route in api.routes)
    assert api.policies.cache == CacheSettings(mode="ttl", ttl=5.0, stale_wait=1.0)
    assert api.policies.fallback == FallbackSettings((ServeStale(), Static(200))) == c.fallback
    assert (a.cache, a.fallback) == (CacheSettings("ttl", ttl=9.0, stale_wait=1.0), FallbackSettings((ServeStale(),)))
    assert (b.cache, b.fallback) == (None, None)
    assert c.cache == CacheSettings(stale_wait=1.0)


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
listen: {agent: "[::1]:1", transparent: 127.0.0.1:2, metrics: off, admin: false}
limits: {connections: 5, header_bytes: 4KiB, body_bytes: 1MiB, memory: {cache: 9MiB, idempotency: 8MiB},
  disk: {ledger: 7MiB}}
stores: {shared: "redis://:pw@h/0", ledger: "sqlite:/var/l.db"}
drain: {timeout: 0s}
log: {level: debug, access: false}
apis: {x: {url: http://x}}
"""
    config = loads(text)
    assert config.listen == Listen(Address("::1", 1), Address("127.0.0.1", 2), None, None)
    assert str(config.listen.agent) == "[::1]:1"
    assert config.limits == Limits(5, 4096, 1 << 20, 9 << 20, 8 << 20, 7 << 20)
    assert (config.stores_shared, config.stores_ledger) == ("redis://:pw@h/0", "/var/l.db")
    assert config.effective["stores"] == {"shared": "redis://****@h/0", "ledger": "sqlite:/var/l.db"}
    assert (config.drain_timeout, config.log_level, config.log_access) == (0.0, "debug", "off")


def test_what_captured_traffic_needs_has_its_settings(loads: Callable[[str], Config]) -> None:
    """Egress as its core has it, folders as paths."""
    text = """\
version: 1
egress: {unlisted: report, private_networks: deny, allow: [X.example, 10.0.0.0/8:80], deny: ["*.y"], pass_through: [z]}
tls_intercept: {ca_dir: /ca, trust_dir: /trust}
apis: {x: {url: http://x}}
"""
    config = loads(text)
    allow = (parse_pattern("X.example"), parse_pattern("10.0.0.0/8:80"))
    deny, pass_through = (parse_pattern("*.y"),), (parse_pattern("z"),)
    assert config.egress == EgressSettings("report", "deny", allow, deny, pass_through)
    assert config.effective["egress"]["allow"] == ["X.example", "10.0.0.0/8:80"]
    assert config.tls_intercept == TlsIntercept(Path("/ca"), Path("/trust"))
    assert config.effective["tls_intercept"] == {"ca_dir": "/ca", "trust_dir": "/trust"}


def test_captured_traffic_is_off_unless_it_is_asked_for(loads: Callable[[str], Config]) -> None:
    """And with its defaults then."""
    config = loads("version: 1\napis: {x: {url: http://x}}")
    assert (config.listen.transparent, config.tls_intercept, config.upstream_proxy) == (None, None, None)
    assert config.egress == EgressSettings()
    assert config.apis[0].credentials == ()
    assert loads("version: 1\ntls_intercept: {}\napis: {x: {url: http://x}}").tls_intercept == TlsIntercept()
    assert loads("version: 1\ntls_intercept: false\napis: {x: {url: http://x}}").tls_intercept is None


@pytest.mark.parametrize(
    ("own", "proxy", "shown", "line"),
    [
        ("", UpstreamProxy("all", 1, b"Basic dTpw"), "http://****@all:1", 2),
        ("upstream_proxy: null", UpstreamProxy("all", 1, b"Basic dTpw"), "http://****@all:1", 3),
        ("upstream_proxy: off", None, "off", 3),
        ("upstream_proxy: false", None, "off", 3),
        ("upstream_proxy: 'http://[::1]:2'", UpstreamProxy("::1", 2), "http://[::1]:2", 3),
    ],
)
def test_an_api_has_the_way_out_of_all_or_its_own(
    own: str, proxy: UpstreamProxy | None, shown: str, line: int, loads: Callable[[str], Config]
) -> None:
    """Whatever it is, what is effective says it, without the password."""
    config = loads(f"version: 1\nupstream_proxy: http://u:p@ALL:1\napis: {{x: {{url: http://x, {own}}}}}")
    assert config.upstream_proxy == UpstreamProxy("all", 1, b"Basic dTpw")
    assert config.apis[0].upstream_proxy == proxy
    effective = config.effective["apis"]["x"]["upstream_proxy"]
    assert effective.lower() == shown
    assert config.origins["apis.x.upstream_proxy"].endswith(f":{line}")
    assert "dTpw" not in repr(config)


def test_what_is_effective_has_every_setting_in_one_form(loads: Callable[[str], Config]) -> None:
    """For people: defaults included, switches as off, routes by name."""
    keys = "timeout: {total: 90s}, idempotency: {}"
    text = f"version: 1\napis: {{x: {{url: http://x, routes: [{{name: r, match: {{paths: [/]}}, {keys}}}]}}}}"
    effective = loads(text).effective
    assert effective["tls_intercept"] == "off"
    assert effective["limits"]["memory"] == {"cache": "64MiB", "idempotency": "32MiB"}
    assert effective["apis"]["x"]["retry"] == effective["apis"]["x"]["cache"] == "off"
    assert effective["apis"]["x"]["fallback"] == effective["apis"]["x"]["idempotency"] == "off"
    assert effective["apis"]["x"]["routes"]["r"]["match"] == {"methods": None, "paths": ["/"]}
    assert effective["apis"]["x"]["routes"]["r"]["timeout"]["total"] == "1m30s"
    assert effective["apis"]["x"]["routes"]["r"]["idempotency"]["derive"] == "off"
    assert "defaults" not in effective


def test_a_secret_in_a_list_is_masked(loads: Callable[..., Config]) -> None:
    """Masking follows the value wherever it stands."""
    config = loads("version: 1\napis: {x: {url: http://x, hosts: [a, '${env:H}']}}", H="b")
    assert config.apis[0].hosts == ("a", "b")
    assert config.effective["apis"]["x"]["hosts"] == ["a", "****"]


def test_a_secret_within_a_key_that_python_cannot_name_is_masked(loads: Callable[..., Config]) -> None:
    """`from` is `from` wherever it is shown."""
    derive = "derive: {from: [body, 'header:${env:H}'], scope: traceparent, window: 1m}"
    config = loads(f"version: 1\napis: {{x: {{url: http://x, idempotency: {{{derive}}}}}}}", H="x-s")
    assert config.effective["apis"]["x"]["idempotency"]["derive"]["from"] == ["body", "header:****"]
    assert config.origins["apis.x.idempotency.derive.from"].endswith(":2")


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
