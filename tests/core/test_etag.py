"""Entity tags: listed, weak, and without their quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.etag import listed, opaque, same_strong


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'"a"', b'"a"'),
        (b'W/"a"', b'"a"'),
        (b'"a"', b'W/"a"'),
        (b'W/"a"', b'W/"a"'),
        (b'"a", "b", "c"', b'"a"'),
        (b'"a", "b", "c"', b'"b"'),
        (b'"a","b"\t,  W/"c" ', b'"c"'),
        (b'"a,b", "c"', b'"a,b"'),
        (b'"\xe4\xff"', b'"\xe4\xff"'),
        (b"a", b"a"),
        (b"a", b'"a"'),
        (b'"a"', b"a"),
        (b"a, b", b"b"),
        (b'""', b'""'),
        (b"*", b'"a"'),
        (b" * ", None),
    ],
)
def test_a_tag_that_is_listed(value: bytes, tag: bytes | None) -> None:
    """RFC 9110, 13.1.2: compared weakly, anywhere in the list; obs-text and missing quotes do no harm."""
    assert listed(value, tag)


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'"a"', b'"b"'),
        (b'"A"', b'"a"'),
        (b'w/"a"', b'"a"'),
        (b'W"a"', b'"a"'),
        (b'W\\"a"', b'"a"'),
        (b'"a,b"', b'"b"'),
        (b'"*"', b'"a"'),
        (b'"*"', None),
        (b'"a"', None),
        (b"", b'"a"'),
        (b", ,", b'""'),
        (b'"a', b'"a"'),
    ],
)
def test_a_tag_that_is_not_listed(value: bytes, tag: bytes | None) -> None:
    """Case counts, also of W/; a comma within quotes parts nothing."""
    assert not listed(value, tag)


def test_the_strong_comparison() -> None:
    """RFC 9110, 8.8.3.2: a weak tag is the same as nothing."""
    assert same_strong(b'"a"', b'"a"')
    assert not same_strong(b'"a"', b'"b"')
    assert not same_strong(b'W/"a"', b'"a"')
    assert not same_strong(b'"a"', b'W/"a"')


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_no_bytes_break_the_comparisons(value: bytes, tag: bytes) -> None:
    """Agents and vendors may send anything."""
    assert listed(value, tag) in {True, False}
    assert same_strong(tag, tag) or tag.startswith(b"W/")
    assert opaque(b'"' + tag + b'"') == tag
