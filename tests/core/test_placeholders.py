"""Tests of core/placeholders.py: what is put into a call, what is left as it was, and what must never leave."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.placeholders import Credential, Dresser
from proxy.errors import PlaceholderMisused
from proxy.model import Headers, Request
from tests.support.properties import examples

BEARER: Final = Credential(b"Authorization", b"Bearer sk_live/1", placeholder=b"bs_stripe")
KEY: Final = Credential(b"api key", b"k&y=1", query=True, placeholder=b"bs_key_77")
PLAIN: Final = Credential(b"X-Api-Key", b"k1")
FOREIGN: Final = (b"bs_stripe_2", b"bs_openai", b"openai_bs")
FEW: Final = settings(max_examples=examples(100), deadline=None)


def request(target: bytes = b"/x", *fields: tuple[bytes, bytes]) -> Request:
    made = Request(b"POST", target, Headers.of(*fields), host=b"a", body=b"b")
    made.query = target.partition(b"?")[2]
    return made


def basic(pair: bytes) -> bytes:
    return b"Basic " + b64encode(pair)


def dressed(*own: Credential, target: bytes = b"/x", fields: tuple[tuple[bytes, bytes], ...] = ()) -> Request:
    return Dresser(own, FOREIGN).dress(request(target, *fields))


# --- fields ---------------------------------------------------------------------------------------------


def test_a_credential_stands_where_the_agents_stood() -> None:
    """One field in the place of all that the agent sent under its name, in the operator's spelling."""
    given_ = ((b"A", b"1"), (b"authorization", b"Bearer x"), (b"B", b"2"), (b"AUTHORIZATION", b"y"))
    made = dressed(BEARER, fields=given_)
    assert list(made.headers) == [(b"A", b"1"), (b"Authorization", b"Bearer sk_live/1"), (b"B", b"2")]


def test_a_credential_that_the_agent_did_not_send_is_added() -> None:
    """Without any placeholder, too: the agent need not know that there is one."""
    assert list(dressed(PLAIN, fields=((b"A", b"1"),)).headers) == [(b"A", b"1"), (b"X-Api-Key", b"k1")]


@pytest.mark.parametrize(
    ("credential", "secret"),
    [
        (BEARER, b"sk_live/1"),
        (Credential(b"Authorization", b"Basic dTpw", placeholder=b"bs_stripe"), b"dTpw"),
        (Credential(b"Authorization", b"sk_1", placeholder=b"bs_stripe"), b"sk_1"),
        (Credential(b"Authorization", b"Digest a=1, b=2", placeholder=b"bs_stripe"), b"Digest a=1, b=2"),
        (Credential(b"X-Key", b"Bearer sk_1", placeholder=b"bs_stripe"), b"Bearer sk_1"),
        (Credential(b"key", b"a b", query=True, placeholder=b"bs_stripe"), b"a b"),
    ],
)
def test_a_placeholder_elsewhere_becomes_the_secret(credential: Credential, secret: bytes) -> None:
    """The value less the scheme of a field for authentication, for the agent's SDK writes one of its own."""
    made = dressed(credential, fields=((b"X-Other", b"Token <bs_stripe>;v=1"),))
    assert made.headers.get(b"x-other") == b"Token <" + secret + b">;v=1"


@pytest.mark.parametrize("pair", [b"bs_stripe:", b"user:bs_stripe", b"bs_stripe"])
def test_a_placeholder_in_basic(pair: bytes) -> None:
    """As curl and the SDKs of Stripe, Twilio and Mailgun send a key: as the user, or as the password."""
    made = dressed(Credential(b"Key", b"sk_1", placeholder=b"bs_stripe"), fields=((b"Authorization", basic(pair)),))
    assert made.headers.get(b"authorization") == basic(pair.replace(b"bs_stripe", b"sk_1"))


@pytest.mark.parametrize("value", [b"Basic YnNfc3RyaXBlO", b"Basic ", b"Basic", b"Bearer YnNfc3RyaXBlOg=="])
def test_what_is_no_basic_is_left_alone(value: bytes) -> None:
    """It is the upstream's to refuse."""
    own, call = Credential(b"Key", b"1", query=True, placeholder=b"bs_stripe"), request(b"/?Key=1", (b"A", value))
    assert Dresser([own], FOREIGN).dress(call) is call


# --- the query ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/x", b"/x?api%20key=k%26y%3D1"),
        (b"/x?", b"/x?api%20key=k%26y%3D1"),
        (b"/x?a=1&&b", b"/x?a=1&&b&api%20key=k%26y%3D1"),
        (b"/x?api+key=bs_key_77&a=%41", b"/x?api+key=k%26y%3D1&a=%41"),
        (b"/x?a&api%20key&b=&%61pi+key=2", b"/x?a&api%20key=k%26y%3D1&b="),
        (b"*", b"*"),
    ],
)
def test_a_parameter_is_set(target: bytes, sent: bytes) -> None:
    """Once, where the agent's stood, under the agent's spelling of its name; all others keep place and bytes."""
    made = dressed(KEY, target=target)
    assert (made.target, made.query) == (sent, sent.partition(b"?")[2])


@pytest.mark.parametrize("spelling", [b"bs_stripe", b"%62s_stripe", b"bs%5Fstrip%65", b"bs%5fstripe"])
def test_a_placeholder_in_the_query(spelling: bytes) -> None:
    """However it is spelled; the secret is spelled so that every character of it arrives."""
    made = dressed(BEARER, target=b"/x?a=%41&auth=Bearer+" + spelling + b"&b")
    assert made.target == b"/x?a=%41&auth=Bearer+sk_live%2F1&b"


def test_what_is_a_part_of_an_escape_is_no_placeholder() -> None:
    """``%ba`` is one octet, and no ``ba``."""
    own = Credential(b"key", b"1", query=True, placeholder=b"babababa")
    assert dressed(own, target=b"/?key=1&a=%babababa").target == b"/?key=1&a=%babababa"


# --- others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "fields", "where"),
    [
        (b"/x", ((b"Authorization", b"Bearer bs_openai"),), "header fields"),
        (b"/x", ((b"Cookie", b"a=1; k=bs_openai"),), "header fields"),
        (b"/x", ((b"Authorization", basic(b"bs_openai:")),), "header fields"),
        (b"/x", ((b"Authorization", b"basic  " + b64encode(b"u:bs_openai").rstrip(b"=")),), "header fields"),
        (b"/x?k=bs_openai", (), "query"),
        (b"/x?k=%62s_open%61i", (), "query"),
        (b"/x?bs%5Fopenai", (), "query"),
    ],
)
@pytest.mark.parametrize("own", [(), (KEY,)])
def test_the_placeholder_of_another_api_stays_here(
    own: tuple[Credential, ...], target: bytes, fields: tuple[tuple[bytes, bytes], ...], where: str
) -> None:
    """The refusal says which one it is, and where."""
    with pytest.raises(PlaceholderMisused, match=f"bs_openai, the placeholder .* stands in the {where}") as caught:
        dressed(*own, target=target, fields=fields)
    assert (caught.value.status, caught.value.reason) == (403, "placeholder_misused")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (b"/x", ((b"A", b"bs_stripe_2"),)),
        (b"/x", ((b"A", b"bs_stripe bs_stripe_2"),)),
        (b"/x", ((b"A", basic(b"bs_stripe:bs_stripe_2")),)),
        (b"/x?a=bs_stripe_2", ()),
        (b"/x?a=bs_stripe%5f2", ()),
    ],
)
def test_the_longer_placeholder_counts(target: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """``bs_stripe_2`` is not ``bs_stripe`` with something behind it."""
    with pytest.raises(PlaceholderMisused, match="bs_stripe_2"):
        dressed(BEARER, target=target, fields=fields)


def test_what_its_own_credential_replaces_is_not_looked_at() -> None:
    """The wrong key in the right place does no harm: it is not sent."""
    fields = ((b"Authorization", b"Bearer bs_openai"),)
    made = dressed(BEARER, KEY, target=b"/x?api+key=bs_openai", fields=fields)
    assert list(made.headers) == [(b"Authorization", b"Bearer sk_live/1")]
    assert made.target == b"/x?api+key=k%26y%3D1"


@pytest.mark.parametrize("target", [b"/bs_openai/x", b"/x"])
def test_a_call_without_any_is_the_same_object(target: bytes) -> None:
    """Paths are not looked at."""
    call = request(target, (b"A", b"1"))
    assert Dresser((), FOREIGN).dress(call) is call
    assert Dresser((), ()).dress(call) is call


def test_the_rest_of_a_request_is_kept() -> None:
    """Its body, its path for the routes, and that it asks for a websocket."""
    call = request(b"/x", (b"A", b"1"))
    call.upgrade, call.path = True, "/y"
    made = Dresser([PLAIN], ()).dress(call)
    assert (made.method, made.host, made.body, made.upgrade, made.path) == (b"POST", b"a", b"b", True, "/y")
    assert list(call.headers) == [(b"A", b"1")]


@pytest.mark.parametrize("method", [b"TRACE", b"trace", b"TRACK"])
def test_what_is_echoed_gets_no_secret(method: bytes) -> None:
    """The answer to a TRACE is the request: the agent would read in it what it must never hold."""
    call = request(b"/x?key=bs_key_77", (b"Authorization", b"Bearer bs_stripe"))
    call.method = method
    assert Dresser((BEARER, KEY), FOREIGN).dress(call) is call
    for target, value in ((b"/x?a=bs%5Fopenai", b""), (b"/x", b"bs_openai")):
        call.target, call.headers = target, Headers.of((b"X-A", value))
        with pytest.raises(PlaceholderMisused):
            Dresser((BEARER, KEY), FOREIGN).dress(call)


def test_nothing_shows_a_secret() -> None:
    """Neither a credential nor what puts it into calls."""
    shown = f"{BEARER!r} {KEY!r} {Dresser([BEARER, KEY], FOREIGN)!r}"
    assert "sk_live" not in shown
    assert "k&y" not in shown
    assert repr(Dresser([BEARER, KEY], ())) == "<Dresser fields=[b'authorization'] parameters=[b'api key']>"


# --- whatever comes -----------------------------------------------------------------------------------------

PIECES: Final = (
    b"bs_stripe", b"bs_key_77", b"bs_stripe_2", b"bs_openai", b"openai_bs", b"bs_", b"stripe", b"_2", b"openai", b"ai",
    b"Bearer", b" ", b"%", b"%6", b"2", b"+", b":", b"x", b"\xff",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)


@st.composite
def spelled(draw: st.DrawFn, plain: st.SearchStrategy[bytes] = texts) -> bytes:
    """Octets as a query may spell them: each as it is, where that is allowed, or as an escape."""
    octets = []
    for octet in draw(plain):
        escape = octet in b" \xff&=" or draw(st.integers(0, 9)) == 0
        octets.append(draw(st.sampled_from([b"%%%02X", b"%%%02x"])) % octet if escape else bytes([octet]))
    return b"".join(octets)


values = texts | texts.map(basic) | texts.map(lambda text: basic(text).rstrip(b"="))
names = st.sampled_from([b"Authorization", b"authorization", b"X-Api-Key", b"Cookie", b"X-Other"])
parameters = st.tuples(st.sampled_from([b"api+key", b"api%20key", b"a", b""]), spelled()).map(b"=".join)
requests = st.builds(
    lambda query, fields: request(b"/x" + (b"?" + b"&".join(query) if query else b""), *fields),
    st.lists(parameters | spelled(), max_size=4),
    st.lists(st.tuples(names, values), max_size=4),
)
owns = st.lists(st.sampled_from([BEARER, KEY, PLAIN]), max_size=3, unique=True)


def visible(call: Request, *, raw: bool = True) -> bytes:
    """All that the other side could read in a request, by another way than the code. ``raw``: undecoded as well."""
    seen = [call.target, unquote_to_bytes(call.target)] if raw else [unquote_to_bytes(call.target)]
    seen += [part for pair in parse_qsl(call.query.decode("latin-1"), encoding="latin-1") for part in _bytes(pair)]
    for _, value in call.headers:
        seen.append(value)
        if found := re.fullmatch(rb"(?i)basic +([A-Za-z0-9+/]+)(={0,2})", value):
            data = found[1][: len(found[1]) - (len(found[1]) % 4 == 1)]
            seen.append(b64decode(data + b"=" * (-len(data) % 4)))
    return b"\0".join(seen)


def _bytes(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    return pair[0].encode("latin-1"), pair[1].encode("latin-1")


@FEW
@given(owns, requests)
def test_no_placeholder_of_another_api_ever_leaves(own: list[Credential], call: Request) -> None:
    """Either nothing leaves at all, or there is none in it, in any spelling."""
    try:
        sent = visible(Dresser(own, FOREIGN).dress(call))
    except PlaceholderMisused:
        assert any(placeholder in visible(call) for placeholder in FOREIGN) or own
        return
    assert not [placeholder for placeholder in FOREIGN if placeholder in sent]


@FEW
@given(owns, requests)
def test_no_placeholder_of_its_own_reaches_the_api(own: list[Credential], call: Request) -> None:
    """What the agent holds is of no use to anybody."""
    try:
        sent = visible(Dresser(own, ()).dress(call), raw=False)
    except PlaceholderMisused:
        pytest.fail("nothing is foreign here")
    for credential in own:
        assert credential.placeholder is None or credential.placeholder not in sent


@FEW
@given(owns, requests)
def test_what_needs_no_change_is_the_same(own: list[Credential], call: Request) -> None:
    """A call is copied only if it is not what is to be sent; what was given is never changed."""
    before = (call.target, list(call.headers))
    try:
        made = Dresser(own, FOREIGN).dress(call)
    except PlaceholderMisused:
        return
    assert (call.target, list(call.headers)) == before
    names_of = {each.name.lower() for each in own if not each.query}
    if not own:
        assert made is call
    if made is not call and not any(name.lower() in names_of for name, _ in made.headers):
        assert (made.target, list(made.headers)) != before


@FEW
@given(owns, requests)
def test_everything_else_keeps_its_place_and_its_bytes(own: list[Credential], call: Request) -> None:
    """Fields and parameters that are no credential, and hold no placeholder, come out as they went in."""
    try:
        made = Dresser(own, FOREIGN).dress(call)
    except PlaceholderMisused:
        return
    held = [each.placeholder for each in own if each.placeholder is not None]
    set_here = {each.name.lower() for each in own}

    def kept(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [
            (name, value)
            for name, value in fields
            if name.lower() not in set_here and not any(each in visible(request(b"/", (name, value))) for each in held)
        ]

    def kept_parts(query: bytes) -> list[bytes]:
        return [
            part
            for part in query.split(b"&")
            if unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" ")) not in set_here
            and not any(each in unquote_to_bytes(part) for each in held)
        ]

    swapped = [each.value for each in own] + [b"sk_live/1"]
    unchanged = [each for each in kept(list(made.headers)) if not any(secret in each[1] for secret in swapped)]
    assert [each for each in kept(list(call.headers)) if each in unchanged] == kept(list(call.headers))
    parts = kept_parts(made.query)
    assert [each for each in kept_parts(call.query) if each in parts or each == b""] == kept_parts(call.query)
