"""The rules that span several keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.load import Problem


def about(problems: list[Problem]) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("listen", "messages"),
    [
        ("{agent: 127.0.0.1:1, admin: 127.0.0.1:1}", ["listen.admin: admin and agent listen at the same address"]),
        ("{agent: 127.0.0.1:9464}", ["listen.agent: metrics and agent listen at the same address"]),
        ("{agent: 127.0.0.1:1, metrics: '[::]:1'}", ["listen.metrics: metrics and agent listen at the same address"]),
        ("{agent: localhost:1, admin: 0.0.0.0:1}", ["listen.admin: admin and agent listen at the same address"]),
        ("{transparent: 127.0.0.1:7070}", ["listen.transparent: transparent and agent listen at the same address"]),
        (
            "{transparent: '[::]:9464'}",
            ["listen.transparent: metrics and transparent listen at the same address"],
        ),
        ("{transparent: 7071}", ["listen.transparent: '7071' is not an address, nor off"]),
        ("{agent: nowhere, admin: 127.0.0.1:7070}", ["listen.agent: 'nowhere' is not an address"]),
    ],
)
def test_listeners_do_not_fight(listen: str, messages: list[str], complains: Callable[[str], list[Problem]]) -> None:
    """Two sockets cannot have one port; a wildcard has it on every interface."""
    assert about(complains(f"version: 1\nlisten: {listen}\napis: {{x: {{url: http://x}}}}")) == messages


@pytest.mark.parametrize(
    "listen",
    [
        "{agent: 127.0.0.1:0, admin: 127.0.0.1:0}",
        "{agent: name:1, admin: other:1}",
        "{metrics: off, agent: 0.0.0.0:9464}",
        "{transparent: off, agent: 127.0.0.1:7071}",
        "{transparent: false}",
    ],
)
def test_listeners_that_do_not_fight(listen: str, loads: Callable[[str], object]) -> None:
    """Any free port, other hosts, and what is off clash with nothing."""
    assert loads(f"version: 1\nlisten: {listen}\napis: {{x: {{url: http://x}}}}")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("mount: /m", "mount: /m", "apis.b.mount: the same mount as 'a' ("),
        ("mount: /m", "mount: /M", "apis.b.mount: a mount that differs only in case from that of 'a' ("),
        ("hosts: [h, i]", "hosts: [j, H]", "apis.b.hosts.1: the api 'a' has this host already"),
        ("hosts: [b.example]", "", "apis.b.url: the api 'a' has this host already, so that nothing would reach 'b'"),
    ],
)
def test_apis_do_not_overlap(a: str, b: str, message: str, complains: Callable[[str], list[Problem]]) -> None:
    """A call has one api, whichever way it is addressed."""
    text = f"version: 1\napis:\n  a: {{url: http://a.example, {a}}}\n  b: {{url: http://b.example, {b}}}\n"
    (said,) = about(complains(text))
    assert said.startswith(message)


def test_apis_may_share_what_is_no_surprise(loads: Callable[[str], object]) -> None:
    """A mount within another, the root, and one vendor behind two mounts are meant so."""
    text = "version: 1\napis:\n  a: {url: http://v.example, mount: /v}\n  b: {url: http://v.example, mount: /v/beta}\n"
    assert loads(text + "  c: {url: http://c.example, mount: /}\n  d: {url: http://d.example}\n")


@pytest.mark.parametrize("name", ["Stripe", "a.b", "-", "x" * 64])
def test_names_of_apis_are_labels(name: str, complains: Callable[[str], list[Problem]]) -> None:
    """They end in metrics, paths and file names."""
    (problem,) = complains(f"version: 1\napis: {{{name}: {{url: http://x}}}}")
    assert (problem.message, problem.column) == (f"{name!r} is no name of an api", 8)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("tls: {client_key: /etc/passwd}", "apis.x.tls.client_key: a key without its certificate"),
        (
            "routes: [{name: default, match: {methods: [GET]}}]",
            "apis.x.routes.0.name: 'default' is the name of the calls",
        ),
        ("routes: [{name: r, match: {}}]", "apis.x.routes.0.match: a route that matches everything"),
        ("routes: [{name: r, match: {methods: [get]}}]", "apis.x.routes.0.match.methods.0: 'get' is not a method"),
        ("breaker: {open: 2m}", "apis.x.breaker.open: open is longer than max_open"),
        ("breaker: {max_open: 5s}", "apis.x.breaker.max_open: open is longer than max_open"),
        ("breaker: {error_ratio: off, consecutive: false}", "apis.x.breaker: nothing can open this breaker"),
        ("retry: {backoff: {base: 3s}}", "apis.x.retry.backoff.base: base is longer than max"),
        ("retry: {backoff: {max: 1ms}}", "apis.x.retry.backoff.max: base is longer than max"),
        ("rate_limit: {}", "apis.x.rate_limit: 'rate' is missing"),
        ("rate_limit: {rate: fast}", "apis.x.rate_limit.rate: 'fast' is not a rate"),
        ("breaker: {open: 2m, max_open: long}", "apis.x.breaker.max_open: 'long' is not a duration"),
        ("cache: {mode: ttl}", "apis.x.cache.mode: mode ttl needs a ttl; add ttl: 30s, for instance"),
        ("cache: {mode: ttl, ttl: off}", "apis.x.cache.ttl: mode ttl needs a ttl; add ttl: 30s"),
        ("cache: {ttl: 30s}", "apis.x.cache.ttl: ttl has no effect in mode rfc9111; add mode: ttl, or write ttl: off"),
        (
            "cache: {stale_wait: 5m}",
            "apis.x.cache.stale_wait: stale_wait is not below timeout.total; lower cache.stale_wait below 5m, or raise",
        ),
        (
            "timeout: {total: 2s}\n    cache: {}",
            "apis.x.timeout.total: stale_wait is not below timeout.total; lower cache.stale_wait below 2s, or raise",
        ),
        ("cache: {mode: ttl, ttl: fast}", "apis.x.cache.ttl: 'fast' is not a duration"),
        ("timeout: {total: long}\n    cache: {stale_wait: 9m}", "apis.x.timeout.total: 'long' is not a duration"),
    ],
)
def test_rules_within_an_api(keys: str, message: str, api: Callable[[str], list[str]]) -> None:
    """Each at the key that the file gives; what is broken already proves nothing more."""
    (said,) = api(keys)
    assert said.startswith(f"5: {message}")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("{lease: 5m, retain: 2m}", ".lease: lease is longer than retain; raise retain, or lower lease"),
        ("{lease: 1h, retain: long}", ".retain: 'long' is not a duration"),
        ("{fingerprint: [path, body, path]}", ".fingerprint.2: 'path' is listed twice; keep the first"),
        (
            "{derive: {from: ['header:x-a', 'header:X-A'], scope: traceparent, window: 1m}}",
            ".derive.from.1: 'header:X-A' is listed twice; keep the first",
        ),
        (
            "{derive: {window: 1m}}",
            ".derive: 'scope' is missing: two equal calls may both be meant, and it tells them apart; add scope: trace",
        ),
        (
            "{derive: {scope: traceparent}}",
            ".derive: 'window' is missing: two equal calls may both be meant, and it tells them apart; add window: 10m",
        ),
        ("{derive: {from: []}}", ".derive.from: the list is empty; give at least one, or leave the key out"),
        ("{derive: {scope: traceparent, window: 500ms}}", ".derive.window: '500ms' is not a duration of at least 1s"),
        ("{derive: {form: [body]}}", ".derive.form: unknown key 'form'; did you mean 'from'?"),
        ("{derive: yes}", ".derive: 'yes' is not a mapping of keys"),
        ("{store_errors: {done: [409, 500-599], unknown: [502]}}", ".store_errors.unknown.0: '502' overlaps with"),
        ("{store_errors: {released: [500, 500]}}", ".store_errors.released.1: '500' overlaps with '500' in released"),
        (
            "{store_errors: {done: [200]}}",
            ".store_errors.done.0: '200' is not a status code or a range from 400 to 599",
        ),
        ("{retain: 31s}", ".retain: '31s' is not a duration of at least 1m; write 1m or more"),
        ("{retain: 60m, lease: 2h}", ".lease: '2h' is not a duration of at most 1h; write 1h or less"),
        ("{max_body: 1023}", ".max_body: '1023' is not a size of at least 1KiB; write 1KiB or more"),
        ("{header: Cookie}", ".header: 'Cookie' is not a field for keys; write a name such as Idempotency-Key"),
        ("{store: disk}", ".store: 'disk' is not one of memory, ledger, shared"),
    ],
)
def test_rules_of_idempotency(keys: str, message: str, api: Callable[[str], list[str]]) -> None:
    """Each at its key; what is broken already proves nothing more."""
    (said,) = api(f"idempotency: {keys}")
    assert said.startswith(f"5: apis.x.idempotency{message}")


def test_neither_scope_nor_window_of_derived_keys_has_a_default(api: Callable[[str], list[str]]) -> None:
    """Where one intent ends and the next begins, nobody else can know."""
    assert [said.partition(":")[2].partition(" is")[0] for said in api("idempotency: {derive: {}}")] == [
        " apis.x.idempotency.derive: 'scope'", " apis.x.idempotency.derive: 'window'",
    ]  # fmt: skip


def test_a_status_that_means_two_things_is_shown_with_the_other_place(
    complains: Callable[[str], list[Problem]],
) -> None:
    """They may come from two layers."""
    text = """\
version: 1
defaults: {idempotency: {store_errors: {released: [500-503]}}}
apis:
  x:
    url: http://x
    idempotency: {store_errors: {unknown: [504, 502-599]}}
"""
    (problem,) = complains(text)
    assert (problem.line, problem.path) == (6, "apis.x.idempotency.store_errors.unknown.1")
    assert problem.message.startswith("'502-599' overlaps with '500-503' in released (")
    assert problem.message.endswith("backstay.yaml:2)")


@pytest.mark.parametrize(
    "keys",
    [
        "{lease: 1h, derive: {scope: traceparent, window: 1s}, retain: 1h}",
        "{require: true, derive: {scope: 'header:x-run', window: 1h}}",
        "{store_errors: {done: [400, 402-499], released: [401, 500], unknown: [501-599]}}",
    ],
)
def test_what_is_allowed_to_idempotency(keys: str, loads: Callable[[str], object]) -> None:
    """A record stays while its owner has a lease, however short the window; and ranges may touch."""
    assert loads(f"version: 1\napis: {{x: {{url: http://x, idempotency: {keys}}}}}")


def test_routes_have_names_of_their_own(api: Callable[[str], list[str]]) -> None:
    """A name is a label of metrics."""
    route = "{name: r, match: {methods: [GET]}}"
    assert api(f"routes: [{route}, {route}]") == [
        "5: apis.x.routes.1.name: two routes of 'x' have this name; give each route its own name"
    ]


def test_tls_without_https_is_a_mistake(complains: Callable[[str], list[Problem]]) -> None:
    """A certificate that is never shown protects nothing."""
    (problem,) = complains("version: 1\napis: {x: {url: http://x, tls: {server_name: y}}}")
    assert problem.message == "the url is not https, so that this has no effect"


def test_a_rule_broken_by_merging_is_named_once(complains: Callable[[str], list[Problem]]) -> None:
    """A bad default that all routes inherit is one mistake at one line."""
    text = "version: 1\ndefaults: {rate_limit: {burst: 5}}\napis:\n  a: {url: http://a}\n  b: {url: http://b}\n"
    assert [(problem.line, problem.message) for problem in complains(text)] == [(2, "'rate' is missing")]


@pytest.mark.parametrize(
    ("steps", "messages"),
    [
        ("[{}]", ["0: a step needs api or status; write stale, {api: NAME}, or {status: 200, body: '...'}"]),
        ("[{body: x}]", ["0: a step needs api or status; write stale, {api: NAME}, or {status: 200, body: '...'}"]),
        ("[{api: y, status: 200}]", ["0.status: status has no effect beside api; make it a step of its own"]),
        ("[{api: y, headers: {}}]", ["0.headers: headers has no effect beside api; make it a step of its own"]),
        ("[{api: y, body: ''}]", ["0.body: body has no effect beside api; make it a step of its own"]),
        ("[{status: 204, body: x}]", ["0.body: an answer with status 204 has no body; remove it, or the status"]),
        ("[{status: 205, body: x}]", ["0.body: an answer with status 205 has no body; remove it, or the status"]),
        ("[{status: 304, body: x}]", ["0.body: an answer with status 304 has no body; remove it, or the status"]),
        ("[stale, {api: y}, stale]", ["2: 'stale' is listed twice; keep the first"]),
        ("[{api: y}, stale, {api: y}]", ["2: 'y' is listed twice; keep the first"]),
        (
            "[{status: 200}, stale, {api: y}]",
            ["1: this is never reached: the answer in front of it ends the list; move it in front of that answer"],
        ),
        (
            "[{status: 20}, stale]",
            ["0.status: '20' is not a status code of at least 200; write a status from 200 to 599"],
        ),
        ("[3, stale, stale]", ["0: '3' is not a step;", "2: 'stale' is listed twice; keep the first"]),
    ],
)
def test_steps_of_a_fallback(steps: str, messages: list[str], complains: Callable[[str], list[Problem]]) -> None:
    """One kind each, in an order that can be followed; what is broken already proves nothing more."""
    text = f"version: 1\napis:\n  x: {{url: http://x, cache: {{}}, fallback: {steps}}}\n  y: {{url: http://y}}\n"
    for problem, message in zip(complains(text), messages, strict=True):
        assert f"{problem.path}: {problem.message}; {problem.remedy}".startswith(f"apis.x.fallback.{message}")


@pytest.mark.parametrize(
    ("headers", "key", "message"),
    [
        ("{'a b': x}", "a b", "'a b' is not the name of a field; write a name such as Accept-Language"),
        ("{'': x}", "", "a key has to be a word; write 'key: value'"),
        ("{Content-Length: 3}", "Content-Length", "'Content-Length' is for Backstay to say; remove it"),
        ("{transfer-encoding: x}", "transfer-encoding", "'transfer-encoding' is for Backstay to say; remove it"),
        ("{Connection: close}", "Connection", "'Connection' is for Backstay to say; remove it"),
        ("{Backstay-Outcome: x}", "Backstay-Outcome", "'Backstay-Outcome' is for Backstay to say; remove it"),
        ("{X-A: 1, x-a: 2}", "x-a", "'X-A' is given already; keep one of the two"),
    ],
)
def test_fields_of_an_answer(headers: str, key: str, message: str, api: Callable[[str], list[str]]) -> None:
    """Names that can be sent, each once, and none of those that say where the answer ends or whose it is."""
    (said,) = api(f"fallback: [{{status: 200, headers: {headers}}}]")
    assert said.endswith(message)
    assert f"fallback.0.headers{'.' * bool(key)}{key}: " in said


def test_the_name_of_a_field_is_pointed_at_itself(complains: Callable[[str], list[Problem]]) -> None:
    """The mistake is in the key, not in its value."""
    text = "version: 1\napis:\n  x:\n    url: http://x\n    fallback: [{status: 200, headers: {te: trailers}}]\n"
    assert [(problem.line, problem.column) for problem in complains(text)] == [(5, 40)]
