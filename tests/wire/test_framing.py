"""Tests of where messages end: every body in every chunking comes through, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Headers
from proxy.wire.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    ChunkedReader,
    CloseReader,
    LengthReader,
    Reader,
    declared_length,
    encode_chunk,
    encode_last_chunk,
    reader_for,
    response_length,
)
from proxy.wire.head import Malformed

EXTENSIONS = st.sampled_from([b"", b";x", b" ;x=y", b'\t;x="y z"'])
TRAILERS = st.sampled_from([None, Headers.of((b"X-Sum", b"6")), Headers.of((b"A", b"1"), (b"a", b"2"))])


def pour(reader: Reader, raw: bytes, sizes: list[int]) -> tuple[bytes, bool, bytes]:
    """Feed ``raw`` in pieces; returns (payload, complete, what is behind)."""
    payload = b""
    while raw:
        size = sizes.pop() if sizes else len(raw)
        piece, raw = raw[:size], raw[size:]
        part, complete, rest = reader.feed(piece)
        payload += part
        if complete:
            return payload, True, rest + raw
    return payload, False, b""


def chunked(pieces: list[bytes], extensions: list[bytes], trailers: Headers | None) -> bytes:
    raw = b""
    for index, piece in enumerate(pieces):
        extension = extensions[index % len(extensions)] if extensions else b""
        raw += b"%X%b\r\n%b\r\n" % (len(piece), extension, piece)
    return raw + encode_last_chunk(trailers)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(EXTENSIONS, max_size=3),
    TRAILERS,
    st.lists(st.integers(1, 9), max_size=60),
    st.binary(max_size=20),
)
def test_any_body_in_any_chunks_comes_through(
    pieces: list[bytes], extensions: list[bytes], trailers: Headers | None, sizes: list[int], behind: bytes
) -> None:
    """However the sender chunks, and however the bytes arrive: the body, its trailers, and not a byte more."""
    reader = ChunkedReader(1000)
    raw = chunked(pieces, extensions, trailers) + behind
    assert pour(reader, raw, sizes) == (b"".join(pieces), True, behind)
    assert reader.trailers == trailers


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(0, 300), st.lists(st.integers(1, 9)))
def test_a_cut_body_is_never_complete(pieces: list[bytes], length: int, sizes: list[int]) -> None:
    """Every proper beginning of a chunked body is incomplete, and gives a beginning of the payload."""
    raw = chunked(pieces, [], None)
    reader = ChunkedReader(1000)
    payload, complete, _ = pour(reader, raw[: min(length, len(raw) - 1)], sizes)
    assert not complete
    assert not reader.at_eof()
    assert b"".join(pieces).startswith(payload)


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"0\r\n", b"\r\n", b"5\r\n", b"X: y\r\n"]), max_size=12))
def test_any_bytes_are_read_or_malformed(pieces: list[bytes]) -> None:
    """Nothing but Malformed is ever raised."""
    reader = ChunkedReader(200)
    try:
        for piece in pieces:
            if reader.feed(piece)[1]:
                break
    except Malformed:
        pass


@given(st.binary(max_size=200), st.binary(max_size=20), st.lists(st.integers(1, 9)))
def test_a_body_of_known_length(body: bytes, behind: bytes, sizes: list[int]) -> None:
    """Exactly its bytes are taken."""
    reader = LengthReader(len(body))
    assert reader.at_eof() is (body == b"")
    if body:
        assert pour(reader, body + behind, sizes) == (body, True, behind)
    assert pour(LengthReader(len(body) + len(behind) + 1), body + behind, sizes) == (body + behind, False, b"")


def test_a_body_until_the_close() -> None:
    """It has no end but the connection's."""
    reader = CloseReader()
    assert reader.feed(b"a\r\n\r\n") == (b"a\r\n\r\n", False, b"")
    assert reader.at_eof()


MALFORMED_CHUNKS = [
    b"g\r\n", b"\r\n", b" 1\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 1\r\n", b"1\nx\r\n", b"1\r\r\n", b";x\r\n",
    b"1\r\nab", b"1\r\na\nb", b"1\r\na\rb", b"1" * 16 + b"\r\n", b"1;a\x00\r\n", b"1;a\x7f\r\n", b"1;" + b"x" * 1024,
    b"0\r\nContent-Length: 1\r\n\r\n", b"0\r\nTE: x\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: " + b"y" * 200,
    b"0\r\nX: " + b"y" * 100 + b"\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("raw", MALFORMED_CHUNKS)
@pytest.mark.parametrize("size", [1, 1000])
def test_malformed_chunks(raw: bytes, size: int) -> None:
    """What is not exactly the grammar is refused, however it arrives; what never can be, at once."""
    reader = ChunkedReader(100)
    with pytest.raises(Malformed):
        pour(reader, raw, [size] * len(raw))


LENGTHS: list[tuple[dict[bytes, bytes], int | None]] = [
    ({}, None),
    ({b"content-length": b"0"}, 0),
    ({b"content-length": b"007"}, 7),
    ({b"content-length": b"9" * 18}, int("9" * 18)),
    ({b"transfer-encoding": b"chunked"}, CHUNKED),
    ({b"transfer-encoding": b"CHUNKED"}, CHUNKED),
]


@pytest.mark.parametrize(("aside", "length"), LENGTHS)
def test_lengths(aside: dict[bytes, bytes], length: int | None) -> None:
    """A message says its length in one way, or not at all."""
    assert declared_length(aside, http10=False) == length


@pytest.mark.parametrize("aside", [
    {b"content-length": b"1", b"transfer-encoding": b"chunked"}, {b"content-length": b""}, {b"content-length": b"1, 1"},
    {b"content-length": b"-1"}, {b"content-length": b"\xd9\xa1"}, {b"content-length": b"9" * 19},
    {b"transfer-encoding": b"gzip"}, {b"transfer-encoding": b"chunked, chunked"}, {b"transfer-encoding": b""},
])  # fmt: skip
def test_ambiguous_lengths(aside: dict[bytes, bytes]) -> None:
    """What could be read in two ways is read in none."""
    with pytest.raises(Malformed):
        declared_length(aside, http10=False)


def test_http10_has_no_chunks() -> None:
    """Transfer-Encoding came with HTTP/1.1."""
    with pytest.raises(Malformed):
        declared_length({b"transfer-encoding": b"chunked"}, http10=True)


@pytest.mark.parametrize(
    ("method", "status", "aside", "length"),
    [
        (b"GET", 200, {b"content-length": b"3"}, 3),
        (b"GET", 200, {}, UNTIL_CLOSE),
        (b"GET", 200, {b"transfer-encoding": b"chunked"}, CHUNKED),
        (b"HEAD", 200, {b"content-length": b"3"}, 0),
        (b"HEAD", 200, {b"transfer-encoding": b"chunked"}, 0),
        (b"GET", 204, {}, 0),
        (b"GET", 304, {b"content-length": b"3"}, 0),
        (b"GET", 101, {}, 0),
    ],
)
def test_lengths_of_answers(method: bytes, status: int, aside: dict[bytes, bytes], length: int) -> None:
    """RFC 9112, 6.3."""
    assert response_length(aside, status=status, method=method, http10=False) == length


def test_readers() -> None:
    """Each length has its reader."""
    kinds = [type(reader_for(length, 10)) for length in (CHUNKED, UNTIL_CLOSE, 0, 5)]
    assert kinds == [ChunkedReader, CloseReader, LengthReader, LengthReader]


def test_encoding() -> None:
    """Chunks are written in their plainest form."""
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_last_chunk(None) == b"0\r\n\r\n"
    assert encode_last_chunk(Headers.of((b"X-Sum", b"6"))) == b"0\r\nX-Sum: 6\r\n\r\n"
