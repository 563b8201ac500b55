"""The kinds of scalar: what they read, what they say, and that the JSON Schema's forms agree with the reader."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import kinds
from proxy.config.kinds import Kind
from proxy.config.schema import Idempotency
from proxy.config.units import UnitError

ALL = {name: kind for name, kind in vars(kinds).items() if isinstance(kind, Kind)}
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just([]), st.just({})
)
plausible = st.from_regex(re.compile(r"[a-z0-9/:.%*_-]{0,12}", re.ASCII), fullmatch=True)


def said(kind: Kind, value: object) -> str:
    with pytest.raises(UnitError) as caught:
        kind.read(value)
    return f"{caught.value.expected}; {caught.value.hint or caught.value.remedy}"


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
@given(value=scalars)
def test_a_kind_raises_nothing_but_unit_errors(kind: Kind, value: object) -> None:
    """Whatever YAML gives, there is an answer or a remedy."""
    try:
        kind.write(kind.read(value))
    except UnitError as error:
        assert error.remedy  # noqa: PT017 - it is the only exception, and it always carries a remedy


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
@given(value=st.one_of(scalars, plausible))
def test_what_is_read_is_allowed_by_the_schema(kind: Kind, value: Any) -> None:
    """An editor never complains about what the loader takes."""
    try:
        kind.read(value)
    except UnitError:
        return
    if isinstance(value, str):
        value.encode()  # a surrogate never gets here: the document refuses it
    jsonschema.validate(value, {"anyOf": list(kind.forms)})


def test_off_adds_a_meaning() -> None:
    """A limit that can be off says so in its message, too."""
    limit = kinds.PAUSE.off()
    assert (limit.read("off"), limit.read(False), limit.read("2s")) == (None, None, 2.0)
    assert (limit.write(None), limit.write(2.0)) == ("off", "2s")
    assert kinds.DURATION.off(0.0).read("off") == 0.0
    assert said(limit, "soon").startswith(
        "a duration, nor off; write a number with its unit: 250ms, 2s, 5m or 1h30m, or off"
    )


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (kinds.PAUSE, "0s", "a duration above 0s; write a duration above zero"),
        (kinds.COUNT, 0, "a whole number of at least 1; write 1 or more"),
        (kinds.COUNT.below(20, "write 20 or less"), 21, "a whole number of at most 20; write 20 or less"),
        (kinds.SHARE, 0, "a ratio above 0%"),
        (kinds.MODE, "enforced", "one of enforce, shadow; did you mean 'enforce'?"),
        (kinds.MODE, 5, "one of enforce, shadow; write one of enforce, shadow"),
        (kinds.words("all", off=True), "al", "one of all, off; did you mean 'all'?"),
        (kinds.VERSION, 2, "a version of the format that this program knows; write version: 1"),
        (kinds.TEXT, 123, "text; write some text; put what looks like a number in quotes"),
        (kinds.TEXT, "", "text; write some text"),
        (kinds.NAME, "Stripe", "a name; use lower-case letters"),
        (kinds.METHOD, "get", "a method; write GET: methods are case-sensitive"),
        (kinds.METHOD, "G T", "a method; write GET, POST and the like"),
        (kinds.MOUNT, "stripe", "a mount; write /stripe"),
        (kinds.MOUNT, "/stripe/", "a mount; write /stripe"),
        (kinds.MOUNT, "/a/../b", "a mount; write a path such as /stripe"),
        (kinds.MOUNT, "//", "a mount; write a path such as /stripe"),
        (kinds.MOUNT, None, "a mount; write a path such as /stripe"),
        (kinds.HOST, "x:80", "a host name; write the name without scheme and port"),
        (kinds.HOST, "a b", "a host name; write a name such as api.internal"),
        (kinds.PATH_PATTERN, "v1/x", "a path; write /v1/x"),
        (kinds.PATH_PATTERN, "/v1?x", "a path; write a path such as /v1/charges"),
        (kinds.LIMIT_KEY, "apis", "a key to count by; did you mean 'api'?"),
        (kinds.LIMIT_KEY, ["api"], "a key to count by; write api, route, credential or header:NAME"),
        (kinds.TROUBLE, "timeouts", "a reason to try again; did you mean 'timeout'?"),
        (kinds.TROUBLE, 200, "a reason to try again; write connect, reset, timeout, or a status code"),
        (kinds.BOOLEAN, "yes", "true or false; write true or false"),
        (kinds.FIELD, "*", "the name of a field; write a name such as Accept-Language"),
        (kinds.FIELD, "a b", "the name of a field; write a name"),
        (kinds.FIELD_VALUE, "a\r\nb", "the value of a field; write one line of text without blanks around it"),
        (kinds.FIELD_VALUE, " a", "the value of a field; write one line of text without blanks around it"),
        (kinds.FIELD_VALUE, "\0", "the value of a field"),
        (
            kinds.FIELD_VALUE,
            True,
            "the value of a field; write one line of text without blanks around it; put it in quotes",
        ),
        (kinds.BODY, {"a": 1}, "text; put it in quotes: '{"),
        (kinds.ANSWER, 199, "a status code of at least 200; write a status from 200 to 599"),
        (kinds.ANSWER, 600, "a status code of at most 599; write a status from 200 to 599"),
        (kinds.KEY_SCOPE, "route", "a scope of keys; write api, credential or header:NAME"),
        (kinds.KEY_SCOPE, "header:", "a scope of keys; write api, credential or header:NAME"),
        (kinds.DERIVE_SCOPE, "traceparents", "a scope of equal calls; did you mean 'traceparent'?"),
        (kinds.PART, "headers", "a part of a request; write method, path, query, body or header:NAME"),
        (kinds.KEY_FIELD, "Cookie", "a field for keys; write a name such as Idempotency-Key"),
        (kinds.KEY_FIELD, "Content-Length", "a field for keys; write a name such as Idempotency-Key"),
        (kinds.KEY_FIELD, "a b", "the name of a field; write a name"),
        (kinds.KEY_SENT_AS, "Authorization", "a field for keys; write a name such as Idempotency-Key"),
        (kinds.KEY_SENT_AS, "Auto", "`auto` or the name of a field; write auto"),
        (kinds.KEY_SENT_AS.off(), "OFF", "`auto` or the name of a field, nor off; write off"),
        (kinds.ERRORS, "300-499", "a status code or a range from 400 to 599; write a code such as 422, or a range"),
        (kinds.ERRORS, "5xx", "a status code or a range of them; write 500-599"),
        (kinds.LEDGER.off(), "/l.db", "the file of a ledger, nor off; write sqlite:/l.db"),
        (kinds.REDIS.off(), "x", "a url of a Redis server, nor off; write redis://host:6379/0"),
    ],
)
def test_says_what_to_write(kind: Kind, value: object, message: str) -> None:
    """The remedy is the value that was meant, where that can be told."""
    assert said(kind, value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "value", "read", "written"),
    [
        (kinds.LIMIT_KEY, "header:X-Tenant", "header:x-tenant", "header:x-tenant"),
        (kinds.HOST, "Api.Example", "api.example", "api.example"),
        (kinds.TROUBLE, 503, "503", 503),
        (kinds.TROUBLE, "429", "429", 429),
        (kinds.TROUBLE, "reset", "reset", "reset"),
        (kinds.words("all", off=True), False, "off", "off"),
        (kinds.MOUNT, "/", "/", "/"),
        (kinds.SIZE.off(0), False, 0, "0B"),
        (kinds.FIELD, "Accept-Language", "accept-language", "accept-language"),
        (kinds.FIELD_VALUE, 30, "30", "30"),
        (kinds.FIELD_VALUE, "", "", ""),
        (kinds.FIELD_VALUE, "a \t${reason}; ü", "a \t${reason}; ü", "a \t${reason}; ü"),
        (kinds.PART, "header:X-A", "header:x-a", "header:x-a"),
        (kinds.KEY_FIELD, "Idempotency-Key", "idempotency-key", "idempotency-key"),
        (kinds.KEY_SENT_AS, "PayPal-Request-Id", "PayPal-Request-Id", "PayPal-Request-Id"),
        (kinds.KEY_SENT_AS, "auto", "auto", "auto"),
        (kinds.ERRORS, "599", (599, 599), 599),
        (kinds.LEDGER, "sqlite:/l.db", "/l.db", "sqlite:/l.db"),
        (kinds.BODY, "two\nlines", "two\nlines", "two\nlines"),
        (kinds.ANSWER, "503", 503, 503),
    ],
)
def test_reads_and_writes(kind: Kind, value: object, read: object, written: object) -> None:
    """A value has one form inside, and one canonical form outside."""
    assert kind.read(value) == read
    assert kind.write(read) == written


def test_a_switch_is_written_as_it_is_read() -> None:
    """What is off is shown as off, however deep it is."""
    assert Idempotency.model_validate({"derive": False}).model_dump(mode="json")["derive"] == "off"


def test_a_placeholder_is_allowed_wherever_text_is_read() -> None:
    """An editor sees the file before expansion."""
    schema = kinds.COUNT.__get_pydantic_json_schema__(None, None)  # type: ignore[arg-type]
    jsonschema.validate("${env:ATTEMPTS:-3}", schema)
    assert {"type": "integer", "minimum": 1} in schema["anyOf"]
