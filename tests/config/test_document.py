"""YAML with places: the core schema, anchors and merge keys, duplicates, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import MAX_BYTES, Mapping, Scalar, Sequence, display, has_broken, plain, read, resolve, walk
from proxy.config.problems import Mark, Problems


def data(text: str) -> list[Any]:
    problems = Problems()
    documents = [plain(root) for root in read(text.encode(), "f", problems)]
    assert not problems, problems.error([])
    return documents


def complaints(source: str | bytes) -> list[str]:
    problems = Problems()
    read(source if isinstance(source, bytes) else source.encode(), "f", problems)
    return str(problems.error([])).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("010", 10),
        ("0o10", 8),
        ("0x1f", 31),
        ("1_000", "1_000"),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("2024-01-01", "2024-01-01"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("9" * 40, "9" * 40),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    """None of PyYAML's own surprises: no sexagesimal, no octal, no booleans but true and false."""
    assert data(f"key: {text}") == [{"key": value}]


def test_not_a_number_is_a_float() -> None:
    """It reaches the schema, which refuses it."""
    assert resolve(".nan") == "float"
    assert str(data("a: .nan")[0]["a"]) == "nan"


def test_every_key_and_value_knows_its_place() -> None:
    """Lines and columns count from 1."""
    (root,) = read(b"a:\n  - b: 1\n", "f", Problems())
    places = [(path, mark, node.mark) for path, mark, node in walk(root)]
    assert places[0] == (("a",), Mark("f", 1, 1), Mark("f", 2, 3))
    assert places[2] == (("a", "0", "b"), Mark("f", 2, 5), Mark("f", 2, 8))


def test_anchors_and_merge_keys() -> None:
    """What a mapping says itself wins over what it merges, and the first merged over the next."""
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [{a: 9}, *x], c: 4}\nw: *x\n"
    assert data(text) == [
        {"x": {"a": 1, "b": 2}, "y": {"b": 3, "a": 1}, "z": {"c": 4, "a": 9, "b": 2}, "w": {"a": 1, "b": 2}}
    ]


def test_a_quoted_merge_key_is_a_plain_key() -> None:
    """Only the bare << merges."""
    assert data("'<<': 1") == [{"<<": 1}]


def test_several_documents_and_empty_ones() -> None:
    """Empty documents, comments and a byte order mark are nothing; a file of nothing else is one without keys."""
    assert data("\ufeff# nothing\n---\n---\na: 1\n--- \nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert data("") == [{}]


@pytest.mark.parametrize(
    ("source", "start"),
    [
        ("a: 1\nb: {c: 2, c: 3}\na: 4\n", "f:2:11: b.c: 'c' is given twice, first in line 2; keep one"),
        ("a: &a [*a]", "f:1:4: a.0: an alias contains itself"),
        ("- a", "f:1:1: the document is not a mapping; start with keys"),
        ("\ta: 1", "f:1:1: found character '\\t' that cannot start any token; indent with spaces"),
        ("a: @b", "f:1:4: found character '@' that cannot start any token; put the value in quotes"),
        ("a: b: c", "f:1:5: mapping values are not allowed here; check the indentation"),
        ("a: *b", "f:1:4: found undefined alias 'b'; define the anchor"),
        ("a: 'b", "f:1:6: found unexpected end of stream; close the quote"),
        ("a: [1, 2", "f:1:9: expected ',' or ']', but got '<stream end>'; check indentation"),
        ("a: !!python/name:os.system x", "f:1:4: a: the tag 'tag:yaml.org,2002:python/name:os.system' does not fit"),
        ("a: !!int x", "f:1:4: a: the tag 'tag:yaml.org,2002:int' does not fit here; remove the tag"),
        ("a: !!set {b}", "f:1:4: a: the tag 'tag:yaml.org,2002:set' does not fit here; remove the tag"),
        ("!x [a]", "f:1:1: the tag '!x' does not fit here; remove the tag"),
        ('a: "\\UFFFFFFFF"', "f:1:1: this is not valid YAML; check escapes"),
        ('a: "\\uD800"', "f:1:4: a: half of a surrogate pair is no text"),
        ('"\\uD800": a', "f:1:1: a key has to be a word; write 'key: value'"),
        ("? [a]\n: b", "f:1:3: a key has to be a word"),
        ('"": b', "f:1:1: a key has to be a word"),
        ("a: {<<: 3}", "f:1:9: a: '<<' takes an alias of a mapping"),
        ("a: 1\nb: x\x07", "f:2:5: a control character is not allowed here; remove it"),
        (b"a: 1\nb: \xff", "f:2:4: the file is not UTF-8; save it as UTF-8"),
        ("[" * 99, "f:1:51: nested deeper than 50 levels"),
        (b"#" * (MAX_BYTES + 1), "f:1:1: the file is larger than 4 MiB"),
    ],
)
def test_refuses_with_place_and_remedy(source: str | bytes, start: str) -> None:
    """Whatever is wrong with a file is said in the reader's words."""
    assert complaints(source)[0].startswith(start)


def test_a_bad_half_leaves_the_other_half() -> None:
    """A syntax error ends a file; what came before it is still checked."""
    problems = Problems()
    roots = read(b"a: 1\n---\nb: [\n", "f", problems)
    assert [plain(root) for root in roots] == [{"a": 1}]
    assert problems


def test_aliases_cannot_explode() -> None:
    """A few lines that expand to a billion values are refused after a hundred thousand, once."""
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"{new}: &{new} [{','.join(['*' + old] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    (complaint,) = complaints("\n".join(lines))
    assert "expands to more than 100000 values" in complaint


def test_what_is_broken_is_left_out() -> None:
    """Validation goes on without it."""
    mark = Mark("f", 1, 1)
    (root,) = read(b"a: [1, 2]\nb: 3\n", "f", Problems())
    items = root.entries["a"].node
    assert isinstance(items, Sequence)
    items.items[0].broken = True
    root.entries["b"].node.broken = True
    assert plain(root) == {"a": [2]}
    assert [path for path, _, _ in walk(root)] == [("a",), ("a", "1")]
    assert has_broken(root)
    assert not has_broken(Mapping(mark))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: true", "'true'"),
        ("a: 5", "'5'"),
        ("a:", "an empty value"),
        ("a: [b]", "a list"),
        ("a: {b: c}", "a mapping"),
        ("a: " + "b" * 99, "'" + "b" * 57 + "...'"),
    ],
)
def test_messages_show_values_briefly(text: str, shown: str) -> None:
    """A value is shown as it stands in the file, cut if it is long."""
    (root,) = read(text.encode(), "f", Problems())
    assert display(root.entries["a"].node) == shown


def test_messages_never_show_secrets() -> None:
    """What was expanded is masked."""
    assert display(Scalar("secret", Mark("f", 1, 1), shown="Bearer ****")) == "'Bearer ****'"


@given(st.one_of(st.text(), st.text(alphabet="ab:- \n[]{}&*!|>'\"#%@`,?<\\0xU.~\t")))
def test_arbitrary_text_raises_nothing(text: str) -> None:
    """Reading notes problems, and never fails otherwise."""
    read(text.encode("utf-8", "replace"), "f", Problems())


@given(st.binary())
def test_arbitrary_bytes_raise_nothing(source: bytes) -> None:
    """Nor do files that are no text at all."""
    read(source, "f", Problems())
