"""Credentials that Backstay sets: their names, what stands in for them, and that they are never shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.explain import explain
from proxy.config.load import ConfigError, Problem, load
from proxy.config.settings import Config
from proxy.core.placeholders import Credential

Complains: TypeAlias = Callable[..., list[Problem]]


def two(one: str, other: str) -> str:
    """Two apis with these credentials."""
    apis = f"  a: {{url: http://a, credentials: {{{one}}}}}\n  b: {{url: http://b, credentials: {{{other}}}}}\n"
    return f"version: 1\napis:\n{apis}"


def test_they_arrive_in_their_order(loads: Callable[..., Config]) -> None:
    """Fields as they are to be sent, parameters without their prefix, secrets as bytes."""
    fields = "X-Key: {value: '${env:K}', placeholder: bs_stripe}, 'query:api_key': {value: q}, "
    api, _ = loads(two(fields + "Authorization: {value: Bearer t}", ""), K="k").apis
    assert api.credentials == (
        Credential(b"X-Key", b"k", placeholder=b"bs_stripe"),
        Credential(b"api_key", b"q", query=True),
        Credential(b"Authorization", b"Bearer t"),
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a b", "'a b' is neither the name of a field nor query:NAME; write a name such as authorization or x-api-key"),
        ("header:x-key", "'header:x-key' is neither the name of a field nor query:NAME; write x-key: fields have no"),
        ("Query:key", "'Query:key' is neither the name of a field nor query:NAME; write query:key"),
        ("'*'", "'*' is neither the name of a field nor query:NAME"),
        ("'query:'", "'query:' names no parameter; write query: and its name without blanks"),
        ("'query:a b'", "'query:a b' names no parameter"),
        ("Host", "'Host' is for Backstay to say; remove it"),
        ("via", "'via' is for Backstay to say; remove it"),
        ("Content-Length", "'Content-Length' is for Backstay to say; remove it"),
        ("transfer-encoding", "'transfer-encoding' is for Backstay to say; remove it"),
        ("connection", "'connection' is for Backstay to say; remove it"),
        ("Backstay-Outcome", "'Backstay-Outcome' is for Backstay to say; remove it"),
        ("backstay-key", "'backstay-key' is for Backstay to say; remove it"),
        (
            "Proxy-Authorization",
            "'Proxy-Authorization' is for a proxy on the way, and not for the api; write it in upstr",
        ),
    ],
)
@pytest.mark.parametrize("value", ["v", "''"])
def test_names_that_cannot_be_set(name: str, said: str, value: str, api: Callable[[str], list[str]]) -> None:
    """What says where a message goes and ends is not theirs; a broken value does not hide it."""
    first = api(f"credentials: {{{name}: {{value: {value}}}}}")[0]
    assert first.startswith("5: apis.x.credentials.")
    assert f": {said}" in first


def test_the_same_field_in_two_spellings_is_one(complains: Complains, loads: Callable[[str], object]) -> None:
    """Parameters are the same only letter by letter; and each api has its own."""
    (problem,) = complains(two("X-Key: {value: v}, x-key: {value: w}", "X-KEY: {value: v}"))
    assert (problem.line, problem.column, problem.path) == (3, 55, "apis.a.credentials.x-key")
    assert problem.message == "'X-Key' is given already"
    assert loads(two("'query:Key': {value: v}, 'query:key': {value: w}, key: {value: x}", ""))


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("aaaabbbb", "aaaabbbb", "'aaaabbbb' is the placeholder of a.credentials.k ("),
        ("aaaabbbb", "xaaaabbbbx", "'xaaaabbbbx' and the placeholder of a.credentials.k ("),
        ("xaaaabbbb", "aaaabbbb", "'aaaabbbb' and the placeholder of a.credentials.k ("),
        ("aaaabbbb", "s3cret-1", "**** is found in the secret of a.credentials.k ("),
        ("aaaabbbb", "s3cret-2", "**** is found in the secret of b.credentials.k ("),
    ],
)
def test_a_placeholder_is_like_nothing_else(one: str, other: str, said: str, complains: Complains) -> None:
    """Where it is found, it has to be known whose it is; and a secret must not look like one."""
    (problem,) = complains(
        two(
            f"k: {{value: x-s3cret-1, placeholder: {one}}}",
            f"k: {{value: s3cret-2-x, placeholder: {other}}}",
        )
    )
    assert (problem.line, problem.path) == (4, "apis.b.credentials.k.placeholder")
    assert problem.message.startswith(said)
    assert problem.remedy == "choose one that is found nowhere else"


@pytest.mark.parametrize("placeholder", ["short-1", "x" * 129, "bs stripe", "bs.stripe", "12345678", "''", "[a]"])
def test_what_is_no_placeholder(placeholder: str, api: Callable[[str], list[str]]) -> None:
    """Long enough not to be met by chance, in characters that no encoding changes."""
    (said,) = api(f"credentials: {{k: {{value: v, placeholder: {placeholder}}}}}")
    assert said.startswith("5: apis.x.credentials.k.placeholder: ")
    assert said.endswith("is not a placeholder; write 8 to 128 letters, digits, - and _, such as bs_stripe_key")


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("{k: {value: ' s3cret'}}", "k.value: '****' is not a credential without blanks around it"),
        ("{k: {value: 4711}}", "k.value: '****' is not text; put it in quotes"),
        ("{k: {value: }}", "k.value: an empty value is not a credential"),
        ("{k: {value: [s3cret]}}", "k.value: a list is not text"),
        ("{k: s3cret}", "k: '****' is not a mapping of keys; write {value: ...}"),
        ("{k: {values: s3cret}}", "k.value: 'value' is missing; add value: to this mapping"),
        ("s3cret", ": '****' is not a mapping of keys; write {NAME: {value: ...}}"),
        ("[s3cret]", ": a list is not a mapping of keys; write {NAME: {value: ...}}"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_it(
    credentials: str, said: str, api: Callable[[str], list[str]]
) -> None:
    """Wherever somebody has written it, and though it came from no file."""
    complaints = api(f"credentials: {credentials}")
    assert complaints[0].removeprefix("5: apis.x.credentials").removeprefix(".").startswith(said)
    assert not [complaint for complaint in complaints if "s3cret" in complaint or "4711" in complaint]


@pytest.mark.parametrize(("content", "said"), [("", "is empty"), ("\n", "is empty"), ("a\nb\n", "is not one line")])
def test_a_file_that_holds_no_secret(content: str, said: str, tmp_path: Path, api: Callable[[str], list[str]]) -> None:
    """A mount that is not filled yet is seen at check; the vendor would only say 401."""
    (tmp_path / "key").write_text(content)
    (complaint,) = api(f"credentials: {{k: {{value: 'Bearer ${{file:{tmp_path}/key}}'}}}}")
    assert said in complaint
    assert ("; put the credential there" in complaint) == (said == "is empty")


def test_a_variable_that_is_empty_is_no_secret(complains: Complains) -> None:
    """Nor is its default; the name is said, so that it can be found."""
    text = "version: 1\napis: {x: {url: http://x, credentials: {a: {value: 'x ${env:A}'}, b: {value: '${env:B:-}'}}}}"
    assert [problem.message for problem in complains(text, A="")] == [
        "the environment variable A is empty", "the environment variable B is empty",
    ]  # fmt: skip


def test_secrets_are_never_shown_and_placeholders_are(loads: Callable[[str], Config]) -> None:
    """Not even those that stand in the file; a mask hides all of them."""
    credentials = "{k: {value: Bearer s3cret, placeholder: bs_stripe}, 'query:q': {value: s3cret}}"
    config = loads(f"version: 1\napis: {{x: {{url: http://x, credentials: {credentials}}}}}")
    assert config.effective["apis"]["x"]["credentials"] == {
        "k": {"value": "****", "placeholder": "bs_stripe"}, "query:q": {"value": "****", "placeholder": None},
    }  # fmt: skip
    assert "s3cret" not in repr(config)
    assert config.origins["apis.x.credentials.query:q.value"].endswith(":2")


ANYTHING = st.recursive(
    st.sampled_from(
        ["S3CRET", " S3CRET", "S3CRET\n", "Bearer S3CRET", "http://S3CRET", "${env:SECRET}", "${S3CRET", 5]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["value", "Value", "authorization", "query:k", "via", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(value=ANYTHING)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_somebody_writes_in_their_place_is_not_shown(value: object, tmp_path: Path) -> None:
    """In no message, in nothing that is effective, and in no representation."""
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps({"version": 1, "apis": {"x": {"url": "http://x", "credentials": value}}}))
    try:
        config = load([file], {"SECRET": "S3CRET"})
        shown = f"{config} {config.effective} {explain(config, 'GET', 'http://x/')}"
    except ConfigError as error:
        shown = str(error)
    assert "S3CRET" not in shown.replace("${S3CRET", "")


def test_a_secret_that_changes_is_read_again(tmp_path: Path) -> None:
    """Its file is watched, also while it is of no use."""
    file, key = tmp_path / "a.yaml", tmp_path / "key"
    file.write_text(f"version: 1\napis: {{x: {{url: http://x, credentials: {{k: {{value: '${{file:{key}}}'}}}}}}}}")
    key.write_text("")
    with pytest.raises(ConfigError) as caught:
        load([file], {})
    assert key in caught.value.watched
    for text in ("one", "two"):
        key.write_text(f"{text}\n")
        config = load([file], {})
        assert (config.apis[0].credentials[0].value, config.watched) == (text.encode(), (file, key))


@pytest.mark.parametrize("layer", ["defaults: {credentials: {}}\n", ""])
def test_routes_and_defaults_have_none(layer: str, complains: Complains) -> None:
    """They are the api's, for all its calls."""
    routes = "" if layer else ", routes: [{name: r, match: {paths: [/]}, credentials: {}}]"
    (problem,) = complains(f"version: 1\n{layer}apis: {{x: {{url: http://x{routes}}}}}\n")
    assert problem.message == "unknown key 'credentials'"
