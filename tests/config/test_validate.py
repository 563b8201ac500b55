"""From nodes to a typed document: every mistake at its place, and validation goes on without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.document import read
from proxy.config.load import Problem
from proxy.config.problems import Problems
from proxy.config.schema import Api, Backoff, Document, Retry, Step
from proxy.config.validate import find, inner_model, model_at, validate


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("retrys: {}", "5: apis.x.retrys: unknown key 'retrys'; did you mean 'retry'?"),
        ("elephant: 1", "5: apis.x.elephant: unknown key 'elephant'; known here: timeout, breaker, retry, rate_limit"),
        ("retry: {backof: 1}", "5: apis.x.retry.backof: unknown key 'backof'; did you mean 'backoff'?"),
        (
            "retry: {backoff: {minimum: 1s}}",
            "5: apis.x.retry.backoff.minimum: unknown key 'minimum'; known here: base, max",
        ),
        (
            "retry:",
            "5: apis.x.retry: an empty value is not a mapping of keys, nor off; write {} for the defaults, or off",
        ),
        ("retry: yes", "5: apis.x.retry: 'yes' is not a mapping of keys; write the keys below it, indented"),
        ("timeout: off", "5: apis.x.timeout: 'off' is not a mapping of keys; write the keys"),
        ("hosts: x.example", "5: apis.x.hosts: 'x.example' is not a list; write [x.example]"),
        ("hosts: {}", "5: apis.x.hosts: a mapping is not a list; write [one, two]"),
        ("hosts:", "5: apis.x.hosts: an empty value is not a list; write [one, two]"),
        ("retry: {when: []}", "5: apis.x.retry.when: the list is empty; give at least one, or leave the key out"),
        ("retry: {when: [no]}", "5: apis.x.retry.when.0: 'no' is not a reason to try again; write connect"),
        (
            "timeout: {total: 30}",
            "5: apis.x.timeout.total: '30' is not a duration; a duration needs its unit: write 30s",
        ),
        (
            "breaker: {scope: apis}",
            "5: apis.x.breaker.scope: 'apis' is not one of api, route, host; did you mean 'api'?",
        ),
        (
            "routes: [{match: {methods: [GET]}}]",
            "5: apis.x.routes.0.name: 'name' is missing; add name: to this mapping",
        ),
        ("routes: [3]", "5: apis.x.routes.0: '3' is not a mapping of keys; write {name: ..., match: ...}"),
        ("credentials: {a: 3}", "5: apis.x.credentials.a: '****' is not a mapping of keys; write {value: ...}"),
        ("credentials: 3", "5: apis.x.credentials: '****' is not a mapping of keys; write {NAME: {value: ...}}"),
        (
            "credentials: {a: {vaule: x, value: y}}",
            "5: apis.x.credentials.a.vaule: unknown key 'vaule'; did you mean 'va",
        ),
        (
            "cache:",
            "5: apis.x.cache: an empty value is not a mapping of keys, nor off; write {} for the defaults, or off",
        ),
        ("cache: on", "5: apis.x.cache: 'on' is not a mapping of keys; write the keys"),
        ("cache: {vary: Accept}", "5: apis.x.cache.vary: 'Accept' is not a list; write [Accept]"),
        ("cache: {vary: ['*']}", "5: apis.x.cache.vary.0: '*' is not the name of a field; write a name such as"),
        (
            "cache: {stale_wait: 0s}",
            "5: apis.x.cache.stale_wait: '0s' is not a duration above 0s; write a duration above",
        ),
        (
            "cache: {max_object: 0}",
            "5: apis.x.cache.max_object: '0' is not a size above 0B; write 1KiB or more, or cache",
        ),
        (
            "cache: {stale_if_eror: 1h}",
            "5: apis.x.cache.stale_if_eror: unknown key 'stale_if_eror'; did you mean 'stale_if",
        ),
        ("fallback: stale", "5: apis.x.fallback: 'stale' is not a list; write [stale]"),
        ("fallback:", "5: apis.x.fallback: an empty value is not a list, nor off; write [stale], or off"),
        ("fallback: []", "5: apis.x.fallback: the list is empty; give at least one, or leave the key out"),
        ("fallback: [stael]", "5: apis.x.fallback.0: 'stael' is not a step; did you mean 'stale'?"),
        (
            "fallback: [3]",
            "5: apis.x.fallback.0: '3' is not a step; write stale, {api: NAME}, or {status: 200, body: '...'}",
        ),
        ("fallback: [{statu: 3}]", "5: apis.x.fallback.0.statu: unknown key 'statu'; did you mean 'status'?"),
        (
            "fallback: [{elephant: 3}]",
            "5: apis.x.fallback.0.elephant: unknown key 'elephant'; known here: api, status, he",
        ),
        (
            "fallback: [{status: 99}]",
            "5: apis.x.fallback.0.status: '99' is not a status code of at least 200; write a s",
        ),
        ("fallback: [{status: 200, body: {}}]", "5: apis.x.fallback.0.body: a mapping is not text; put it in quotes"),
        ("fallback: [{status: 200, headers: [a]}]", "5: apis.x.fallback.0.headers: a list is not a mapping of keys"),
        (
            'fallback: [{status: 200, headers: {x-a: "a\\nb"}}]',
            "5: apis.x.fallback.0.headers.x-a: 'a\\nb' is not the value of a field; write one line of text",
        ),
    ],
)
def test_says_what_is_wrong_with_an_api(keys: str, message: str, api: Callable[[str], list[str]]) -> None:
    """One mistake, one message: with the line, the path and what to write instead."""
    (said,) = api(keys)
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("apis: {x: {url: http://x}}", ["'version' is missing"]),
        ("version: 2\napis: {x: {url: http://x}}", ["'2' is not a version of the format that this program knows"]),
        ("version: 1", ["no api is configured"]),
        ("version: 1\napis: {}", ["no api is configured"]),
        ("version: 1\napis:", ["an empty value is not a mapping of keys"]),
        ("version: 1\napis: {x: }", ["an empty value is not a mapping of keys"]),
        ("version: 1\napis: {x: {mount: /x}}", ["'url' is missing"]),
        ("version: 1\napis: {x: {url: '${env:A}'}}", ["the environment variable A is not set"]),
        ("version: 1\napis: {x: {url: http://x, routes: [{name: 3}]}}", ["'3' is not a name", "'match' is missing"]),
    ],
)
def test_what_is_missing_and_what_is_broken(
    text: str, messages: list[str], complains: Callable[[str], list[Problem]]
) -> None:
    """A key that is there but wrong is not missing besides."""
    assert sorted(problem.message for problem in complains(text)) == sorted(messages)


def test_a_secret_is_never_shown(complains: Callable[..., list[Problem]]) -> None:
    """Neither the value of a bad secret nor a hint made of it gets into a message."""
    text = "version: 1\napis: {x: {url: http://x, mount: '${env:M}', timeout: {total: '${env:T}'}, hosts: '${env:H}'}}"
    said = "\n".join(map(str, complains(text, M="s3cret/", T="31337", H="s3cret")))
    assert "s3cret" not in said
    assert "31337" not in said
    assert "'****' is not a duration; write a number with its unit" in said


def test_indexes_stay_those_of_the_file() -> None:
    """Once the first item of a list is found broken, the second is still the second."""
    (root,) = read(b"version: 1\napis: {x: {url: http://x, hosts: [':', ok, '::']}}", "f", Problems())
    problems = Problems()
    document = validate(root, problems)
    assert [problem.path for problem in problems.error([]).problems] == ["apis.x.hosts.0", "apis.x.hosts.2"]
    assert document.apis["x"].hosts == ["ok"]
    assert find(root, ("apis", "x", "hosts", 0)).path == "apis.x.hosts.1"


def test_finds_as_far_as_the_tree_goes() -> None:
    """A default has no place of its own: its mapping's is the nearest."""
    (root,) = read(b"a:\n  b: 1", "f", Problems())
    assert find(root, ("a", "c")).path == "a"
    assert find(root, ("a", "b", "c")).path == "a.b"
    assert find(root, ()).node is root


def test_finds_the_model_of_a_path() -> None:
    """Even for an api whose name is that of a key."""
    assert model_at(("apis", "retry", "retry", "backoff")) is Backoff
    assert model_at(("apis", "url")) is Api
    assert model_at(("apis", "x", "routes", 0, "retry")) is Retry
    assert model_at(("defaults", "fallback", 0)) is Step
    assert model_at(("apis", "x", "routes", 0, "fallback", 0, "headers", "x-a")) is Step
    assert model_at(()) is Document
    assert inner_model(int | None) is None
