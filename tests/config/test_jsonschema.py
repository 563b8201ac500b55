"""The JSON Schema: complete, readable by Helm, and of one mind with the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.document import plain, read
from proxy.config.jsonschema import json_schema
from proxy.config.load import ConfigError, load
from proxy.config.problems import Problems

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
EXAMPLES = sorted(Path("config").glob("*.yaml"))


def check(text: str) -> None:
    (root,) = read(text.encode(), "f", Problems())
    VALIDATOR.validate(plain(root))


def nodes(node: Any) -> Iterator[Any]:
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from nodes(child)


def test_it_is_a_schema() -> None:
    """Valid by its own dialect, and plain JSON."""
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_accepts_the_examples(path: Path) -> None:
    """As they are written, before any expansion."""
    check(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "version: 1",
        "version: 1\napis: {}",
        "version: 2\napis: {x: {url: http://x}}",
        "version: 1\napis: {X: {url: http://x}}",
        "version: 1\napis: {x: {}}",
        "version: 1\napis: {x: {url: x}}",
        "version: 1\napis: {x: {url: http://x, retrys: {}}}",
        "version: 1\napis: {x: {url: http://x, hedge: {}}}",
        "version: 1\napis: {x: {url: http://x, cache: {mode: RFC9111}}}",
        "version: 1\napis: {x: {url: http://x, cache: {vary: ['a b']}}}",
        "version: 1\napis: {x: {url: http://x, fallback: stale}}",
        "version: 1\napis: {x: {url: http://x, fallback: []}}",
        "version: 1\napis: {x: {url: http://x, fallback: [cached]}}",
        "version: 1\napis: {x: {url: http://x, fallback: [{stale: true}]}}",
        "version: 1\napis: {x: {url: http://x, fallback: [{status: 100}]}}",
        "version: 1\nstores: {shared: 127.0.0.1:6379}\napis: {x: {url: http://x}}",
        "version: 1\nstores: {ledger: 'sqlite:x'}\napis: {x: {url: http://x}}",
        "version: 1\nstores: {ledger: 'sqlite:///x'}\napis: {x: {url: http://x}}",
        "version: 1\nlimits: {disk: {cache: 1GiB}}\napis: {x: {url: http://x}}",
        "version: 1\napis: {x: {url: http://x, idempotency: {store: redis}}}",
        "version: 1\napis: {x: {url: http://x, idempotency: {upstream_header: 'a b'}}}",
        "version: 1\napis: {x: {url: http://x, idempotency: {derive: {from_: [body]}}}}",
        "version: 1\napis: {x: {url: http://x, idempotency: {derive: {from: []}}}}",
        "version: 1\napis: {x: {url: http://x, idempotency: {store_errors: {done: ['300-399']}}}}",
        "version: 1\napis: {x: {url: http://x, timeout: off}}",
        "version: 1\napis: {x: {url: http://x, timeout: {total: 30}}}",
        "version: 1\napis: {x: {url: http://x, breaker: {error_ratio: 20}}}",
        "version: 1\napis: {x: {url: http://x, retry: {attempts: 0}}}",
        "version: 1\napis: {x: {url: http://x, retry: {when: []}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {k: v}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {k: {}}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {k: {value: ''}}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {k: {value: 'v '}}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {k: {value: v, placeholder: short}}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {'a b': {value: v}}}}",
        "version: 1\napis: {x: {url: http://x, credentials: {'header:a': {value: v}}}}",
        "version: 1\napis: {x: {url: http://x, upstream_proxy: https://h:1}}",
        "version: 1\nupstream_proxy: h:1\napis: {x: {url: http://x}}",
        "version: 1\nupstream_proxy: null\napis: {x: {url: http://x}}",
        "version: 1\nlisten: {transparent: 7071}\napis: {x: {url: http://x}}",
        "version: 1\negress: {unlisted: off}\napis: {x: {url: http://x}}",
        "version: 1\negress: {allow: ['http://x/']}\napis: {x: {url: http://x}}",
        "version: 1\negress: {pass_through: ['x:1']}\napis: {x: {url: http://x}}",
        "version: 1\ntls_intercept: {ca_dir: ca}\napis: {x: {url: http://x}}",
        "version: 1\ntls_intercept: true\napis: {x: {url: http://x}}",
    ],
)
def test_it_refuses_what_the_loader_refuses(text: str) -> None:
    """An editor underlines what would not load."""
    with pytest.raises(jsonschema.ValidationError):
        check(text)


@pytest.mark.parametrize(
    "keys",
    [
        "breaker: off",
        "breaker: false",
        "retry: {}",
        "timeout: {first_byte: off, idle: false, total: 1h30m}",
        "retry: {budget: 20%, when: [connect, 503, '429']}",
        "retry: {budget: 0.2, replay_body: 1024}",
        "rate_limit: {rate: 5/100ms, wait: 0, key: 'header:X-A'}",
        "classify: {failure: [503, 500-599]}",
        "mount: '${env:MOUNT}'",
        "retry: {attempts: '${env:N:-3}', safe: '${env:SAFE}'}",
        "tls: {ca_file: null}",
        "cache: {}",
        "cache: off",
        "cache: {mode: ttl, ttl: 30s, key_body: true, vary: [Accept], stale_if_error: off, store: shared}",
        "idempotency: {}",
        "idempotency: off",
        "idempotency: {derive: {from: [body, 'header:X-A'], scope: traceparent, window: 1h}, retain: 720h}",
        "idempotency: {derive: off, upstream_header: false, scope: 'header:X-T', store_errors: {done: [409, 500-599]}}",
        "credentials: {}",
        "credentials: {Authorization: {value: 'Bearer ${file:/k}', placeholder: bs_x_key}, 'query:k': {value: v}}",
        "upstream_proxy: off",
        "upstream_proxy: null",
        "upstream_proxy: 'http://u:p%40@[::1]:3128/'",
        "upstream_proxy: '${env:HTTPS_PROXY}'",
        "fallback: false",
        "fallback: [stale, {api: y}, {status: 503, headers: {retry-after: 3, x-a: ''}, body: '${api}'}]",
    ],
)
def test_it_accepts_every_form(keys: str) -> None:
    """Text and numbers, off and false, and placeholders."""
    check(f"version: 1\nx-anchors: [1]\napis: {{x: {{url: http://x, {keys}}}}}")


SCALARS = st.sampled_from([
    None, True, False, 80, "off", "", "x.example", "*.x.example:443", "10.0.0.0/8", "1.2.3.4:80", "[fd00::/8]:443",
    "http://proxy:3128", "http://u:p@[::1]:3128/", "https://x.example", "127.0.0.1:7071", "/a", "/a/b", "deny", "auto",
    "::1", "bs_some_key", "Bearer x", "*", "${env:A}",
])  # fmt: skip
LISTS = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
WORDS = st.sampled_from(["allow", "report", "deny"])


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A mapping with some of these keys, or something else."""
    return st.one_of(st.fixed_dictionaries({}, optional=keys), SCALARS)


CAPTURED = st.fixed_dictionaries(
    {},
    optional={
        "listen": some(transparent=SCALARS),
        "upstream_proxy": SCALARS,
        "egress": some(unlisted=WORDS, private_networks=SCALARS, allow=LISTS, deny=LISTS, pass_through=LISTS),
        "tls_intercept": some(ca_dir=SCALARS, trust_dir=SCALARS),
    },
)
OF_AN_API = st.fixed_dictionaries(
    {"url": st.just("http://api.example")},
    optional={
        "upstream_proxy": SCALARS,
        "credentials": st.dictionaries(
            st.sampled_from(["Authorization", "query:k", "x-key", "via", "a b"]),
            some(value=SCALARS, placeholder=SCALARS),
            max_size=2,
        ),
    },
)


@given(process=CAPTURED, api=OF_AN_API)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_accepts_what_the_loader_accepts(process: dict[str, Any], api: dict[str, Any], tmp_path: Path) -> None:
    """Of all that captured traffic needs, whatever stands where."""
    document = {"version": 1, **process, "apis": {"x": api}}
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps(document))
    try:
        load([file], {"A": "bs_other_key"})
    except ConfigError as error:
        assert all(problem.remedy and problem.path for problem in error.problems)  # noqa: PT017 - the only exception
    else:
        VALIDATOR.validate(document)


def test_helm_can_read_its_patterns() -> None:
    """Helm compiles them with RE2, which knows no lookaround."""
    patterns = [node["pattern"] for node in nodes(json_schema()) if isinstance(node, dict) and "pattern" in node]
    assert patterns
    assert not [pattern for pattern in patterns if "(?" in pattern.replace("(?:", "")]


def test_every_key_has_a_sentence_and_no_unknown_one_is_allowed() -> None:
    """What an editor shows beside a key; and defaults as a person would write them."""
    schema = json_schema()
    for model in (schema, *schema["$defs"].values()):
        assert model["additionalProperties"] is False
        assert all(key["description"] for key in model["properties"].values())
        assert "title" not in model or model is schema
    assert schema["$defs"]["Timeout"]["properties"]["total"]["default"] == "5m"
    assert schema["$defs"]["Retry"]["properties"]["when"]["default"] == ["connect", "reset", "timeout", 502, 503, 504]
