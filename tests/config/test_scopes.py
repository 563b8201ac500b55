"""The rules that span several apis and routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.load import Problem
from proxy.config.settings import Config

Complains = Callable[..., list[Problem]]


def about(problems: list[Problem]) -> list[str]:
    """Line, path and message of each."""
    return [f"{problem.line}: {problem.path}: {problem.message}" for problem in problems]


def apis(*lines: str, head: str = "defaults: {}") -> str:
    """A configuration with ``head`` in its second line, and an api in each from the fourth."""
    named = (f"  {line.replace('{', '{url: http://' + line.partition(':')[0] + ', ', 1)}\n" for line in lines)
    return f"version: 1\n{head}\napis:\n{''.join(named)}"


# --- stores and memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["defaults: {}", "stores: {}", "stores: {shared: off}"])
def test_a_shared_store_has_to_be_there(head: str, complains: Complains) -> None:
    """A cache that nobody shares is not what was asked for."""
    (problem,) = complains(apis("x: {cache: {store: shared}}", head=head))
    assert str(problem).endswith(
        ":4:37: apis.x.cache.store: there is no shared store; add stores: {shared: redis://host:6379/0}, "
        "or write store: memory"
    )


def test_a_shared_store_that_is_broken_is_not_missing_besides(complains: Complains) -> None:
    """One mistake, one message."""
    said = about(complains(apis("x: {cache: {store: shared}}", head="stores: {shared: h}")))
    assert said == ["2: stores.shared: 'h' is not a url of a Redis server, nor off"]


def test_a_shared_store_may_be_there_for_nothing(loads: Callable[[str], Config]) -> None:
    """It will be used one day; and what is on Redis takes no memory here."""
    assert loads(apis("x: {}", head="stores: {shared: redis://h}")).stores_shared == "redis://h"
    head = "stores: {shared: redis://h}\nlimits: {memory: {cache: 0}}"
    assert loads(apis("x: {cache: {store: shared}}", head=head)).limits.memory_cache == 0


@pytest.mark.parametrize(
    ("head", "cache", "said", "remedy"),
    [
        (
            "limits: {}",
            "{max_object: 33MiB}",
            "4: apis.x.cache.max_object: this is more than half of limits.memory.cache (64MiB)",
            "write 32MiB or less, or raise limits.memory.cache",
        ),
        (
            "limits: {memory: {cache: 1MiB}}",
            "{}",
            "2: limits.memory.cache: this is less than two answers of cache.max_object (1MiB)",
            "write 2MiB or more, or lower cache.max_object",
        ),
        ("limits: {memory: {cache: much}}", "{max_object: 1GiB}", "2: limits.memory.cache: 'much' is not a size", ""),
    ],
)
def test_an_answer_fits_into_memory_twice(head: str, cache: str, said: str, remedy: str, complains: Complains) -> None:
    """One must not throw out all others; the mistake is where somebody has set something."""
    (problem,) = complains(apis(f"x: {{cache: {cache}}}", "y: {cache: {store: memory, max_object: 8KiB}}", head=head))
    assert about([problem]) == [said]
    assert problem.remedy.startswith(remedy)


# --- credentials ------------------------------------------------------------------------------------------

OWN = "credentials: {k: {value: v}}"


@pytest.mark.parametrize(
    ("api", "path"),
    [
        (f"x: {{{OWN}, cache: {{store: shared, scope: shared}}}}", "apis.x.cache.scope"),
        (f"x: {{{OWN}, cache: {{scope: shared}}}}", "apis.x.cache.scope"),
        (
            f"x: {{{OWN}, routes: [{{name: r, match: {{paths: [/]}}, cache: {{scope: shared}}}}]}}",
            "apis.x.routes.0.cache.scope",
        ),
    ],
)
def test_what_own_credentials_may_see_is_not_for_all_pods(api: str, path: str, complains: Complains) -> None:
    """Another pod may have others, of another tenant."""
    (problem,) = complains(apis(api, head="stores: {shared: redis://h}\ndefaults: {cache: {store: shared}}"))
    assert (problem.path, problem.remedy) == (path, "write scope: credential, or store: memory")
    assert problem.message == "pods with other credentials for 'x' would get the answers to these"


@pytest.mark.parametrize(
    "api",
    [
        f"x: {{{OWN}, cache: {{store: shared}}}}",
        f"x: {{{OWN}, cache: {{scope: shared}}}}",
        "x: {cache: {store: shared, scope: shared}}",
    ],
)
def test_what_may_be_shared(api: str, loads: Callable[[str], Config]) -> None:
    """With who has the same credentials; in this pod; and what no credential of ours was needed for."""
    assert loads(apis(api, head="stores: {shared: redis://h}")).apis


# --- what has an effect -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("fallback: [stale]", "fallback.0: there is no cache that could have a stale answer"),
        ("fallback: [stale], cache: off", "fallback.0: there is no cache that could have a stale answer"),
        (
            "rate_limit: {rate: 1/s, fallback: true}",
            "rate_limit.fallback: there is nothing that could stand in for a r",
        ),
        ("cache: {key_body: true}", "cache.key_body: no call with POST or QUERY comes here"),
        ("cache: {mode: ttl, ttl: 1s, key_body: true}", "cache.key_body: no call with POST or QUERY comes here"),
    ],
)
def test_a_route_is_told_what_has_no_effect_in_it(keys: str, said: str, complains: Complains) -> None:
    """Nobody shall believe in what does nothing."""
    text = apis(f"x: {{routes: [{{name: r, match: {{methods: [GET, PUT]}}, {keys}}}]}}")
    (found,) = about(complains(text))
    assert found.startswith(f"4: apis.x.routes.0.{said}")


@pytest.mark.parametrize("methods", ["[POST]", "[PUT, QUERY]"])
def test_a_ttl_is_for_reads(methods: str, complains: Complains) -> None:
    """A search by POST is a read only if it is said to be one."""
    keys = f"match: {{methods: {methods}}}, cache: {{mode: ttl, ttl: 1s}}"
    (problem,) = complains(apis(f"x: {{routes: [{{name: r, {keys}}}]}}"))
    assert problem.message == "no call that comes here is a read"
    assert problem.remedy == "add GET to methods, or key_body: true for POST"


@pytest.mark.parametrize(
    "api",
    [
        "x: {cache: {key_body: true}}",
        "x: {cache: {mode: ttl, ttl: 1s}, routes: [{name: r, match: {methods: [PUT]}}]}",
        "x: {cache: {key_body: true}, routes: [{name: r, match: {methods: [GET]}}]}",
        "x: {routes: [{name: r, match: {methods: [POST]}, cache: {mode: ttl, ttl: 1s, key_body: true}}]}",
        "x: {routes: [{name: r, match: {paths: [/]}, cache: {key_body: true}}]}",
        "x: {cache: {}, fallback: [stale], routes: [{name: r, match: {methods: [PUT]}, cache: off}]}",
        "x: {fallback: [stale], routes: [{name: r, match: {methods: [GET]}, cache: {}}]}",
        "x: {cache: {}, rate_limit: {rate: 1/s, fallback: true}}",
        "x: {fallback: [{status: 200}], rate_limit: {rate: 1/s, fallback: true}}",
    ],
)
def test_what_has_an_effect_somewhere_is_accepted(api: str, loads: Callable[[str], object]) -> None:
    """What an api says for all its routes may be idle in some."""
    assert loads(apis(api))


def test_what_the_defaults_say_is_for_whom_it_concerns(loads: Callable[[str], object], complains: Complains) -> None:
    """One api with a cache is enough for a `stale` in the defaults; none is too few, and is said once."""
    head = "defaults: {fallback: [stale]}"
    assert loads(apis("x: {cache: {}}", "y: {}", head=head))
    said = about(complains(apis("x: {}", "y: {}", head=head)))
    assert said == ["2: apis.x.fallback.0: there is no cache that could have a stale answer"]


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("defaults: {cache: 3}", ""),
        ("defaults: {}", "cache: 3,"),
        ("defaults: {}", "cache: {mode: 3},"),
    ],
)
def test_a_cache_that_is_broken_is_not_missing_besides(head: str, keys: str, complains: Complains) -> None:
    """Who wrote it wanted one."""
    text = apis(f"x: {{{keys} routes: [{{name: r, match: {{methods: [GET]}}, fallback: [stale]}}]}}", head=head)
    (said,) = about(complains(text))
    assert "'3' is not" in said


def test_methods_that_are_broken_prove_nothing(complains: Complains) -> None:
    """The one that was meant may be a POST."""
    route = "{name: r, match: {methods: [GET, post]}, cache: {key_body: true}}"
    (said,) = about(complains(apis(f"x: {{routes: [{route}]}}")))
    assert "'post' is not a method" in said


# --- other apis -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        ("backupp", "no api is named 'backupp'", "did you mean 'backup'?"),
        ("zebra", "no api is named 'zebra'", "write one of x, backup"),
        ("'${env:NAME}'", "no api is named '****'", "write one of x, backup"),
        ("x", "'x' falls back to itself", "name another api, or give 'x' a fallback of its own"),
    ],
)
def test_a_fallback_is_another_api(name: str, said: str, remedy: str, complains: Complains) -> None:
    """It exists, and is another one."""
    (problem,) = complains(apis(f"x: {{fallback: [{{api: {name}}}]}}", "backup: {}"), NAME="backupp")
    assert (problem.line, problem.path, problem.message) == (4, "apis.x.fallback.0.api", said)
    assert problem.remedy == remedy


def test_an_api_that_is_broken_is_not_unknown_besides(complains: Complains) -> None:
    """It has a name, and will have a url."""
    said = about(complains("version: 1\napis:\n  x: {url: http://x, fallback: [{api: y}]}\n  y: {mount: /y}\n"))
    assert said == ["4: apis.y.url: 'url' is missing"]


def test_no_apis_at_all_are_one_mistake(complains: Complains) -> None:
    """There is nothing to fall back to, and nothing that falls."""
    assert about(complains("version: 1\napis: []\n")) == ["2: apis: a list is not a mapping of keys"]


def test_a_default_does_not_send_an_api_to_itself(complains: Complains) -> None:
    """The backup starts from the defaults as every api does: its own fallback, or none, has to be said."""
    head = "defaults: {fallback: [{api: backup}]}"
    said = about(complains(apis("x: {}", "backup: {}", head=head)))
    assert said == ["2: apis.backup.fallback.0.api: 'backup' falls back to itself"]


@pytest.mark.parametrize(
    ("lines", "place", "chain"),
    [
        (
            ("a: {fallback: [{api: b}]}", "b: {fallback: [{api: a}]}"),
            "4: apis.a.fallback.0.api",
            "a -> b -> a",
        ),
        (
            (
                "a: {fallback: [{status: 200}]}",
                "b: {fallback: [{api: c}]}",
                "c: {fallback: [{api: d}]}",
                "d: {fallback: [{api: a}, {api: b}]}",
            ),
            "5: apis.b.fallback.0.api",
            "b -> c -> d -> b",
        ),
        (
            (
                "a: {routes: [{name: r, match: {paths: [/r]}, fallback: [{api: b}]}]}",
                "b: {routes: [{name: s, match: {paths: [/s]}, fallback: [{api: a}]}]}",
            ),
            "4: apis.a.routes.0.fallback.0.api",
            "a (route r) -> b (route s) -> a",
        ),
    ],
)
def test_calls_are_not_sent_round_in_a_circle(
    lines: tuple[str, ...], place: str, chain: str, complains: Complains
) -> None:
    """Each circle is told once, with the way that a call would go."""
    (problem,) = complains(apis(*lines))
    assert about([problem]) == [f"{place}: the fallbacks go round in a circle: {chain}"]
    assert problem.remedy == "take one of these steps out"


def test_two_circles_are_two_mistakes(complains: Complains) -> None:
    """All at once, as ever."""
    lines = ("a: {fallback: [{api: b}, {api: c}]}", "b: {fallback: [{api: a}]}", "c: {fallback: [{api: a}]}")
    assert [problem.message.rpartition(": ")[2] for problem in complains(apis(*lines))] == [
        "a -> b -> a",
        "a -> c -> a",
    ]


def test_many_ways_may_lead_to_one_api(loads: Callable[[str], object]) -> None:
    """A long chain, and two ways to one end, are no circle."""
    lines = [f"a{index}: {{fallback: [{{api: a{index + 1}}}, {{api: end}}]}}" for index in range(30)]
    assert loads(apis(*lines, "a30: {}", "end: {}"))
