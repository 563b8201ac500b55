"""The rules that span several apis and routes, for calls that must happen once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.load import Problem

Complains = Callable[..., list[Problem]]
LEDGER = "stores: {ledger: 'sqlite:/l.db'}"
REDIS = "stores: {shared: 'redis://h'}"


def once(keys: str, *, beside: str = "", url: str = "http://x", head: str = "defaults: {}") -> str:
    """An api in the fourth line, with these keys of `idempotency` and others; ``head`` is the second line."""
    return f"version: 1\n{head}\napis:\n  x: {{url: '{url}', idempotency: {{{keys}}}, {beside}}}\n"


def about(problem: Problem) -> str:
    return f"{problem.line}: {problem.path}: {problem.message}; {problem.remedy}"


# --- stores and room ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("shared", "there is no shared store; add stores: {shared: redis://host:6379/0}, or write store: memory"),
        (
            "ledger",
            "there is no ledger; add stores: {ledger: sqlite:/var/lib/backstay/ledger.db}, or write store: memo",
        ),
    ],
)
def test_records_need_the_store_that_is_to_keep_them(store: str, said: str, complains: Complains) -> None:
    """Nothing is protected by a store that is not there."""
    (problem,) = complains(once(f"scope: api, store: {store}"))
    assert about(problem).startswith(f"4: apis.x.idempotency.store: {said}")


def test_a_ledger_that_is_broken_is_not_missing_besides(complains: Complains) -> None:
    """One mistake, one message."""
    (problem,) = complains(once("store: ledger", head="stores: {ledger: ledger.db}"))
    assert about(problem) == (
        "2: stores.ledger: 'ledger.db' is not the file of a ledger, nor off; "
        "write sqlite: and an absolute path: sqlite:/var/lib/backstay/ledger.db, or off"
    )


@pytest.mark.parametrize(
    ("defaults", "keys", "line"), [("{}", "store: shared, retain: 1h", 5), ("{store: shared, retain: 1h}", "", 2)]
)
def test_in_a_shared_store_it_is_said_who_gets_whose_answers(
    defaults: str, keys: str, line: int, complains: Complains
) -> None:
    """One tenant must not see another's replay because nobody thought of it."""
    (problem,) = complains(once(keys, head=f"defaults: {{idempotency: {defaults}}}\n{REDIS}"))
    assert about(problem) == (
        f"{line}: apis.x.idempotency.store: in a shared store, who may get whose answers has to be said; "
        "add scope: credential, or scope: api if all callers are one tenant"
    )


@pytest.mark.parametrize(
    ("defaults", "keys"),
    [
        ("{}", "store: shared, scope: api"),
        ("{scope: api}", "store: shared"),
        ("{store: shared}", 'scope: "header:x-t"'),
        ("{store: shared, scope: credential}", ""),
    ],
)
def test_any_layer_may_say_it(defaults: str, keys: str, loads: Callable[[str], object]) -> None:
    """What counts is that somebody has decided."""
    assert loads(once(keys, head=f"defaults: {{idempotency: {defaults}}}\n{REDIS}"))


@pytest.mark.parametrize(
    ("head", "keys", "said", "remedy"),
    [
        (
            "limits: {}",
            "max_body: 17MiB",
            "4: apis.x.idempotency.max_body: this is more than half of limits.memory.idempotency (32MiB)",
            "write 16MiB or less, or raise limits.memory.idempotency",
        ),
        (
            "limits: {memory: {idempotency: 1MiB}}",
            "",
            "2: limits.memory.idempotency: this is less than two answers of idempotency.max_body (1MiB)",
            "write 2MiB or more, or lower idempotency.max_body",
        ),
        (
            LEDGER,
            "store: ledger, max_body: 129MiB",
            "4: apis.x.idempotency.max_body: this is more than half of limits.disk.ledger (256MiB)",
            "write 128MiB or less, or raise limits.disk.ledger",
        ),
        (
            f"limits: {{memory: {{idempotency: 1MiB}}, disk: {{ledger: 1MiB}}}}\n{LEDGER}",
            "store: ledger",
            "2: limits.disk.ledger: this is less than two answers of idempotency.max_body (1MiB)",
            "write 2MiB or more, or lower idempotency.max_body",
        ),
    ],
)
def test_two_answers_fit_into_a_ledger(head: str, keys: str, said: str, remedy: str, complains: Complains) -> None:
    """In the store that the route uses: the others are not its concern."""
    (problem,) = complains(once(keys, head=head))
    assert about(problem) == f"{said}; {remedy}"


# --- what has an effect -------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", ["[GET]", "[GET, HEAD, OPTIONS, QUERY]"])
def test_what_changes_nothing_need_not_happen_once(methods: str, complains: Complains) -> None:
    """Somebody thought of another route."""
    route = f"routes: [{{name: r, match: {{methods: {methods}}}, idempotency: {{retain: 1h}}}}]"
    (problem,) = complains(once("", beside=route))
    assert about(problem) == (
        "4: apis.x.routes.0.idempotency: no call that comes here could happen twice: all its methods are safe; "
        "add POST to methods, or remove it"
    )


@pytest.mark.parametrize(
    "beside",
    [
        "routes: [{name: r, match: {methods: [GET]}}]",
        "routes: [{name: r, match: {methods: [GET, DELETE]}, idempotency: {retain: 1h}}]",
        "routes: [{name: r, match: {paths: [/]}, idempotency: {retain: 1h}}]",
    ],
)
def test_what_an_api_says_may_be_idle_in_some_of_its_routes(beside: str, loads: Callable[[str], object]) -> None:
    """As it is for every policy."""
    assert loads(once("", beside=beside))


def test_methods_that_are_broken_prove_nothing(complains: Complains) -> None:
    """The one that was meant may be a POST."""
    route = "routes: [{name: r, match: {methods: [GET, post]}, idempotency: {retain: 1h}}]"
    (problem,) = complains(once("", beside=route))
    assert "'post' is not a method" in problem.message


def test_an_upstream_that_ignores_keys_needs_no_field_for_them(complains: Complains) -> None:
    """Whoever has looked up the vendor's name for it did not mean `ignores`."""
    (problem,) = complains(once("upstream: ignores, upstream_header: X-Key"))
    assert about(problem) == (
        "4: apis.x.idempotency.upstream_header: an upstream that ignores keys needs no field for them; "
        "remove it, or upstream: ignores"
    )


@pytest.mark.parametrize("keys", ["upstream: ignores, upstream_header: off", "upstream: ignores", "upstream: auto"])
def test_a_field_for_keys_in_the_defaults_is_for_whom_it_concerns(keys: str, loads: Callable[[str], object]) -> None:
    """One api that may honour keys is enough."""
    head = "defaults: {idempotency: {upstream_header: X-Key}}"
    assert loads(once(keys, head=head) + "  y: {url: http://y}\n")


# --- what would happen twice --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "url", "why", "instead"),
    [
        ("upstream: ignores", "http://x", "it ignores keys", "upstream: honours if its documentation says so"),
        ("upstream: ignores", "https://api.stripe.com", "it ignores keys", "upstream: honours if its documentation"),
        ("", "https://api.stripe.com.example", "it is not known to honour keys", "upstream: honours if its documen"),
        ("upstream_header: X-Key", "http://x", "it is not known to honour keys", "upstream: honours if its document"),
        ("upstream_header: off", "https://api.stripe.com", "the key is not sent", "remove upstream_header: off"),
        (
            "upstream_header: X-Key",
            "https://api.stripe.com",
            "Stripe looks for a key in Idempotency-Key alone",
            "upstream_header: auto",
        ),
    ],
)
def test_only_where_keys_are_honoured_is_a_call_sent_again(
    keys: str, url: str, why: str, instead: str, complains: Complains
) -> None:
    """Where nobody knows what became of the first, a second may be one too many."""
    (problem,) = complains(once(f"on_unknown: resend, {keys}", url=url))
    assert about(problem).startswith(
        f"4: apis.x.idempotency.on_unknown: 'x' might carry out twice what is sent again: {why}; "
        f"write on_unknown: refuse, or {instead}"
    )


@pytest.mark.parametrize(
    ("keys", "url"),
    [
        ("", "https://api.stripe.com"),
        ("", "https://API.Stripe.com:443/v1"),
        ("upstream_header: idempotency-key", "https://api.stripe.com"),
        ("upstream: honours", "http://x"),
        ("upstream: honours, upstream_header: off", "http://x"),
        ("upstream: honours, upstream_header: X-Key", "http://x"),
    ],
)
def test_a_vendor_or_the_operator_vouches_for_it(keys: str, url: str, loads: Callable[[str], object]) -> None:
    """The vendor by its documentation; the operator knows what is in the body, too."""
    assert loads(once(f"on_unknown: resend, {keys}", url=url))


def test_each_api_to_which_calls_would_be_sent_again_is_named(complains: Complains) -> None:
    """One line in the defaults is as many mistakes as there are vendors that nobody knows."""
    head = "defaults: {idempotency: {on_unknown: resend}}"
    problems = complains(once("", head=head) + "  y: {url: http://y}\n  z: {url: 'https://api.stripe.com'}\n")
    assert [(problem.line, problem.message[:3]) for problem in problems] == [(2, "'x'"), (2, "'y'")]


def test_what_is_broken_proves_nothing(complains: Complains) -> None:
    """Whether it honours keys will be said."""
    (problem,) = complains(once("on_unknown: resend, upstream: honors"))
    assert about(problem).endswith("'honors' is not one of auto, honours, ignores; did you mean 'honours'?")


@pytest.mark.parametrize("methods", ["", "methods: [POST, PUT],"])
def test_a_call_is_a_read_or_happens_once(methods: str, complains: Complains) -> None:
    """Two would answer it from what they know, each by rules of its own."""
    route = f"routes: [{{name: r, match: {{{methods} paths: [/s]}}, cache: {{key_body: true}}}}]"
    (problem,) = complains(once("", beside=route))
    assert about(problem) == (
        "4: apis.x.routes.0.cache.key_body: POST is a read here, and has idempotency, too: both would answer it; "
        "write key_body: false or idempotency: off, or give the reads a route of their own"
    )


@pytest.mark.parametrize("keys", ["match: {methods: [QUERY]}", "match: {paths: [/s]}, idempotency: off"])
def test_reads_by_body_may_stand_beside_it(keys: str, loads: Callable[[str], object]) -> None:
    """QUERY is safe; and a route may have none of it."""
    assert loads(once("", beside=f"routes: [{{name: r, cache: {{key_body: true}}, {keys}}}]"))
