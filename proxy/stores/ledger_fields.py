"""Owns how a record of a call is written on a server, and what is believed of such a writing. Used by ledger_redis.py.

A record is a hash whose fields lua/ledger.lua reads and writes, but for two that it does not look into:

    subject   what the record is about, as JSON: its ident, api, route, method, target, key
    answer    digest | length of the head | head, as JSON: status, reason, header fields | body

Nothing is believed that says of itself that it belongs to another record, that has been cut or changed since, or that
an answer could not contain, down to a line break in a field: who can write to the server could otherwise write to an
agent's connection. Other versions write to the same server: a change of this form changes the schema number in
ledger_redis.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from typing import Any, Final

from proxy.core.idempotency import Answer, Claim, Record, State, Subject

_DIGEST: Final = 16  # bytes
_LENGTH: Final = struct.Struct(">I")
_START: Final = _DIGEST + _LENGTH.size

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(rb"[^\r\n\0]*")  # RFC 9110, 5.5
_OF_ONE_HOP: Final = frozenset({b"connection", b"transfer-encoding"})  # would undo the framing of our answer
_BAD: Final = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)


class Malformed(ValueError):
    """The fields are no record, or none that was written under this name."""


# --- writing ---------------------------------------------------------------------------------------


def subject_of(ident: str, subject: Subject) -> str:
    """The field ``subject`` of the record of that name."""
    return json.dumps([ident, *subject], separators=(",", ":"))


def answer_of(ident: str, answer: Answer) -> bytes:
    """The field ``answer`` of the record of that name."""
    fields = [(_latin(name), _latin(value)) for name, value in answer.headers]
    head = json.dumps([answer.status, _latin(answer.reason), fields], separators=(",", ":")).encode()
    rest = b"".join((_LENGTH.pack(len(head)), head, answer.body))
    return _digest(ident, rest) + rest


def _latin(value: bytes) -> str:
    return value.decode("latin-1")


def _digest(ident: str, rest: bytes) -> bytes:
    digest = hashlib.sha256(ident.encode())
    digest.update(rest)
    return digest.digest()[:_DIGEST]


# --- reading ---------------------------------------------------------------------------------------


def record_of(ident: str, fields: bytes, answer: bytes | None = None) -> Record:
    """The record of that name: the values of FIELDS of lua/ledger.lua in lines, and its answer. Raises Malformed."""
    try:
        return _record(ident, fields.decode(), answer)
    except _BAD as error:
        raise Malformed(f"no record of a call: {error}") from error


def _record(ident: str, fields: str, answer: bytes | None) -> Record:
    subject, fingerprint, nonce, token, number, state, doubt, *more = fields.split("\n")
    created, lease_until, windowed, retain, until, status = more
    claim = Claim(
        ident, token, fingerprint, 0.0, _seconds(retain), 0.0, nonce, resend=False, subject=_subject(ident, subject)
    )
    record = Record(claim, _seconds(created))
    record.number, record.state, record.doubt = int(number), State(state), _flag(doubt)
    record.lease_until, record.windowed, record.until = _seconds(lease_until), _flag(windowed), _seconds(until)
    record.status = _status(int(status)) if status != "0" else 0
    if answer is not None:
        record.answer = _answer(ident, answer)
    return record


def _seconds(value: str) -> float:
    if not math.isfinite(seconds := float(value)):
        raise Malformed(f"{value} is no time")
    return seconds


def _flag(value: str) -> bool:
    return {"0": False, "1": True}[value]


def _subject(ident: str, written: str) -> Subject:
    whose, *parts = map(_str, json.loads(written))
    if whose != ident:
        raise Malformed("written under another name")
    return Subject(*parts)


def _str(value: object) -> str:
    if type(value) is not str:
        raise Malformed(f"{value!r} is no text")
    return value


def _answer(ident: str, data: bytes) -> Answer:
    if data[:_DIGEST] != _digest(ident, data[_DIGEST:]):
        raise Malformed("an answer that was changed, or is another record's")
    end = _START + int(_LENGTH.unpack_from(data, _DIGEST)[0])
    status, reason, fields = json.loads(data[_START:end])
    headers = tuple([(_bytes(name, _TOKEN), _bytes(value, _VALUE)) for name, value in fields])
    answer = Answer(_status(status), _bytes(reason, _VALUE), headers, data[end:])
    _check_framing(answer)
    return answer


def _status(value: Any) -> int:
    if type(value) is not int or not 100 <= value <= 599:
        raise Malformed(f"status {value!r}")
    return value


def _bytes(value: object, pattern: re.Pattern[bytes]) -> bytes:
    raw = _str(value).encode("latin-1")
    if pattern.fullmatch(raw) is None:
        raise Malformed(f"{raw!r} has no place in an answer")
    return raw


def _check_framing(answer: Answer) -> None:
    """Content-Length is what the agent's side of the wire goes by; one with a 304 tells of another answer."""
    for name, value in answer.headers:
        lower = name.lower()
        if lower in _OF_ONE_HOP:
            raise Malformed(f"{_latin(name)} is not kept")
        if lower == b"content-length" and answer.status != 304 and value != b"%d" % len(answer.body):
            raise Malformed(f"Content-Length {_latin(value)} with {len(answer.body)} bytes")
