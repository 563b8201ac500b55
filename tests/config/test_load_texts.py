"""Loading of texts for another place: what they refer to is not looked up, and stands for itself in what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config.document import Scalar, display, plain, read
from proxy.config.expand import stand_in
from proxy.config.load import ConfigError, check_open, load_texts
from proxy.config.problems import Problems


def stood_in(text: str) -> Any:
    (root,) = read(text.encode(), "f", Problems())
    stand_in(root)
    return root


@pytest.mark.parametrize(
    ("value", "instead"),
    [
        ("${env:A}", "not-here"),
        ("x${env:A}y${file:/b}", "xnot-hereynot-here"),
        ("${env:A:-d}", "d"),
        ("${env:A:-}", ""),
        ("$${env:A}", "$${env:A}"),
        ("${api} ${env:A", "${api} ${env:A"),
        ("$5", "$5"),
    ],
)
def test_a_reference_is_replaced_and_not_looked_up(value: str, instead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in this environment nor in these files; what is none is left for whoever expands."""
    monkeypatch.setenv("A", "ours")
    assert plain(stood_in(f"a: '{value}'")) == {"a": instead}


@pytest.mark.parametrize(
    ("key", "instead"),
    [("url", "https://not-here"), ("upstream_proxy", "http://not-here:1"), ("shared", "redis://not-here")],
)
def test_what_has_to_be_a_url_becomes_one(key: str, instead: str) -> None:
    """Else the configuration would be refused for what is right in its place."""
    assert plain(stood_in(f"{key}: ${{env:A}}")) == {key: instead}
    assert plain(stood_in(f"{key}: ${{env:A:-d}}")) == {key: "d"}


def test_a_message_shows_what_is_written() -> None:
    """Not what stands for it."""
    node = stood_in("a: '${env:A}'").entries["a"].node
    assert isinstance(node, Scalar)
    assert display(node) == "'${env:A}'"


def test_texts_are_loaded_as_files_are() -> None:
    """Together, and by their names."""
    config = load_texts({"a": b"version: 1\napis: {x: {url: https://x.test}}\n", "b": b"drain: {timeout: 5s}\n"})
    assert [api.host for api in config.apis] == ["x.test"]
    assert config.drain_timeout == 5.0
    assert config.watched == ()


def test_mistakes_are_in_the_order_of_the_texts() -> None:
    """Each with the name of its text."""
    with pytest.raises(ConfigError) as caught:
        load_texts({"b": b"version: 1\napis: {}\nx: 1\n", "a": b"y: 1\n"})
    found = [(problem.file, problem.line) for problem in caught.value.problems if problem.path in {"x", "y"}]
    assert found == [("b", 3), ("a", 1)]


def test_texts_that_cannot_be_read_are_refused() -> None:
    """And nothing else is said of them."""
    with pytest.raises(ConfigError, match="UTF-8") as caught:
        load_texts({"a": b"\xff"})
    assert len(caught.value.problems) == 1


def test_no_file_is_looked_at(tmp_path: Path) -> None:
    """Not for a secret, nor for a certificate that is named."""
    (tmp_path / "secret").write_text("ours")
    text = f"version: 1\napis: {{x: {{url: https://x.test, tls: {{ca_file: {tmp_path}/nothing}}}}}}\n"
    assert "ours" not in repr(load_texts({"a": f"{text}admin_token: ${{file:{tmp_path}/secret}}\n".encode()}).effective)


WRITTEN_OUT = {
    "admin_token": ["admin_token: 0123456789abcdef", "admin_token: '${env:A:-0123456789abcdef}'"],
    "apis.a.credentials.authorization.value": ["apis: {a: {credentials: {authorization: {value: Bearer abc}}}}"],
    "apis.a.upstream_proxy": ["apis: {a: {upstream_proxy: 'http://me:pw@${env:HOST}:1'}}"],
    "stores.shared": ["stores: {shared: 'redis://:pw@h'}", "stores: {shared: 'redis://:${env:A:-pw}@h'}"],
}


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in WRITTEN_OUT.items() for text in texts])
def test_a_secret_in_a_text_that_many_read_is_a_mistake(path: str, text: str) -> None:
    """Written out, or as a default; what it says is not repeated."""
    with pytest.raises(ConfigError) as raised:
        check_open({"a": b"version: 1", "b.yaml": text.encode()})
    assert str(raised.value).startswith("b.yaml:1:")
    assert f" {path}: a secret is written out; write ${{env:NAME}} or ${{file:/path}}" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "admin_token: ${file:/secrets/admin}",
        "admin_token: '${env:A:-}'",
        "admin_token: ''",
        "apis: {a: {credentials: {authorization: {value: 'Bearer ${env:A}', placeholder: bs_a}}}}",
        "apis: {a: {upstream_proxy: 'http://me:${env:A}@proxy:1'}}",
        "stores: {shared: 'redis://:${file:/secrets/redis}@h'}",
        "stores: {shared: 'redis://h'}",
        "log: {level: info}",
    ],
)
def test_a_reference_to_a_secret_is_none(text: str) -> None:
    """Nor is what stands around it."""
    check_open({"a": text.encode()})
