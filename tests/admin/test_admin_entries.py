"""A stored answer as its operator sees it: what it is, and no secret of anybody's."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.entries import MASK, field, is_secret, masked, shown, shown_whole, veiled
from proxy.core.credentials import CREDENTIALS
from proxy.core.freshness import CacheSettings
from proxy.core.stored import Stored
from proxy.model import Headers
from proxy.stores.base import Listed

IDENT = "0123456789abcdef" * 2
RULES = CacheSettings(mode="ttl", ttl=60.0)


def listed(
    target: bytes = b"/v1/plans", vary: tuple[tuple[bytes, bytes | None], ...] = (), *fields: tuple[bytes, bytes]
) -> Listed:
    stored = Stored(
        status=200,
        reason=b"OK",
        headers=Headers.of(*fields),
        body=b"the body",
        requested_at=999.0,
        received_at=1000.0,
        initial_age=5.0,
        vary=vary,
        api="stripe",
        route="plans",
        target=target,
    )
    return Listed(IDENT, stored)


class TestShown:
    """A line of a list."""

    def test_what_it_says(self) -> None:
        """All that tells one answer from another; the body is not among it."""
        entry = listed(b"/v1/plans?limit=3", ((b"accept", b"text/html"), (b"accept-language", None)))
        assert shown(entry, "memory", RULES, 1010.0) == {
            "id": IDENT,
            "api": "stripe",
            "route": "plans",
            "method": "GET",
            "target": "/v1/plans?limit=3",
            "status": 200,
            "size": entry.stored.size,
            "age": 15.0,
            "fresh_for": 50.0,
            "vary": {"accept": "text/html", "accept-language": None},
            "store": "memory",
        }

    @pytest.mark.parametrize(("now", "fresh_for"), [(1000.0, 60.0), (1060.0, 0.0), (1100.1239, -40.124)])
    def test_how_long_it_is_fresh(self, now: float, fresh_for: float) -> None:
        """Below 0 it is stale."""
        assert shown(listed(), "memory", RULES, now)["fresh_for"] == fresh_for

    def test_the_rules_in_force_decide(self) -> None:
        """What was stored under other rules is shown as it would be used now."""
        entry = listed()
        shown(entry, "memory", RULES, 1000.0)
        assert shown(entry, "memory", CacheSettings(mode="ttl", ttl=1.0), 1000.0)["fresh_for"] == 1.0

    def test_what_no_route_uses_any_more_is_neither_fresh_nor_stale(self) -> None:
        """Nobody knows, and JSON has no infinity."""
        entry = shown(listed(), "shared", None, 1000.0)
        assert entry["fresh_for"] is None
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry

    def test_what_was_judged_before_keeps_its_judgement(self) -> None:
        """A route that was taken out of the configuration does not make it forget."""
        entry = listed()
        shown(entry, "memory", RULES, 1000.0)
        assert shown(entry, "memory", None, 1000.0)["fresh_for"] == 60.0

    def test_a_clock_that_went_back_makes_no_negative_age(self) -> None:
        """An answer is at least as old as it came."""
        assert shown(listed(), "memory", RULES, 10.0)["age"] == 5.0

    def test_secrets_are_masked_in_target_and_vary(self) -> None:
        """A request field that an answer varies by may be a credential."""
        entry = shown(listed(b"/a?api_key=spoon&q=x", ((b"authorization", b"Bearer spoon"),)), "memory", RULES, 0.0)
        assert (entry["target"], entry["vary"]) == (f"/a?api_key={MASK}&q=x", {"authorization": MASK})

    @given(target=st.binary(), name=st.binary(), value=st.binary() | st.none())
    def test_any_answer_can_be_shown(self, target: bytes, name: bytes, value: bytes | None) -> None:
        """Whatever bytes a vendor or an agent sent, it is JSON."""
        entry = shown_whole(listed(target, ((name, value),), (name, value or b"")), "memory", RULES, 0.0)
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry


def test_a_whole_answer_has_its_fields_too() -> None:
    """In their order and as often as they came, secrets masked."""
    entry = listed(
        b"/",
        (),
        (b"Date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
        (b"Set-Cookie", b"sid=spoon"),
        (b"Link", b'<https://a.test/?page=2&token=spoon>; rel="next"'),
        (b"Link", b'<https://a.test/?page=1>; rel="prev"'),
    )
    whole = shown_whole(entry, "memory", RULES, 1000.0)
    assert whole["headers"] == [
        ["Date", "Mon, 01 Jan 2024 00:00:00 GMT"],
        ["Set-Cookie", MASK],
        ["Link", f'<https://a.test/?page=2&token={MASK}>; rel="next"'],
        ["Link", '<https://a.test/?page=1>; rel="prev"'],
    ]
    assert whole | shown(entry, "memory", RULES, 1000.0) == whole


class TestSecretNames:
    """What is taken for a secret by its name."""

    @pytest.mark.parametrize(
        "name",
        [
            "authorization", "Proxy-Authorization", "set-cookie", "cookie", "x-api-key", "apikey", "api_key", "apiKey",
            "hapikey", "key", "appid", "access_token", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-Credential",
            "client_secret", "password", "pwd", "pass", "sig", "sid", "session_id", "PHPSESSIONID", "jwt", "code",
            "x-auth-token", "auth", "oauth_verifier", "subscription-key", "KEY",
        ],
    )  # fmt: skip
    def test_secrets(self, name: str) -> None:
        """Credentials as vendors name them, in whatever case."""
        assert is_secret(name)

    @pytest.mark.parametrize(
        "name",
        [
            "q", "page", "limit", "author", "author_id", "authors", "keyword", "compass", "country_code", "signal",
            "content-type", "etag", "date", "vary", "cache-control", "location", "side", "x-ratelimit-remaining-tokens",
            "units", "passage", "design",
        ],
    )  # fmt: skip
    def test_no_secrets(self, name: str) -> None:
        """What an operator tells answers apart by stays readable."""
        assert not is_secret(name)

    @pytest.mark.parametrize("name", sorted(CREDENTIALS))
    def test_what_keys_a_caller_is_a_secret(self, name: bytes) -> None:
        """The fields that Backstay itself takes for credentials are masked all."""
        assert field(name.decode(), "spoon") == MASK


class TestMasked:
    """Secrets in a text."""

    @pytest.mark.parametrize(
        ("text", "shown_as"),
        [
            ("/a?x=1", "/a?x=1"),
            ("/a?token=spoon", f"/a?token={MASK}"),
            ("/a?x=1&token=spoon;key=fork&y=2", f"/a?x=1&token={MASK};key={MASK}&y=2"),
            ("/a?token=a=b&x=1", f"/a?token={MASK}&x=1"),
            ("/a?api%5Fkey=spoon", f"/a?api%5Fkey={MASK}"),
            ("/a?to%6ben=spoon", f"/a?to%6ben={MASK}"),
            ("/a?token=", f"/a?token={MASK}"),
            ("/a?token", "/a?token"),
            ("/a?token=a?b=c", f"/a?token={MASK}"),
            ("/a?to=/b?token=spoon", f"/a?to=/b?token={MASK}"),
            ("/a?to=%2Fb%3Ftoken%3Dspoon&x=1", f"/a?to=%2Fb%3Ftoken%3D{MASK}&x=1"),
            ("/a#access_token=spoon&state=x", f"/a#access_token={MASK}&state=x"),
            ("https://me:spoon@a.test/b?c=d", f"https://{MASK}@a.test/b?c=d"),
            ("//me:sp@on@a.test", f"//{MASK}@a.test"),
            ("https://a.test/@me", "https://a.test/@me"),
            ("text/html; charset=utf-8", "text/html; charset=utf-8"),
            ("/v1/sk_live_0123456789abcdef/x", f"/v1/{MASK}/x"),
            ("/?q=ghp_0123456789abcdef", f"/?q={MASK}"),
            ("/?q=AKIAABCDEFGHIJKLMNOP", f"/?q={MASK}"),
            ("/?q=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_d&x=1", f"/?q={MASK}&x=1"),
            ("/bot123456789:AAabcdefghijklmnopqrstuvwxyz0123456/getMe", f"/{MASK}/getMe"),
            ("/tasks/risk-assessment", "/tasks/risk-assessment"),
            ("/robots/bot12", "/robots/bot12"),
        ],
    )
    def test_what_is_masked(self, text: str, shown_as: str) -> None:
        """By the name of a parameter, in a url's user, or by the form of a key."""
        assert masked(text) == shown_as

    @given(
        before=st.text("ab/?&=;#", max_size=10),
        name=st.sampled_from(["token", "api_key", "client%5Fsecret", "X-Amz-Signature"]),
        secret=st.text("0123456789", min_size=4, max_size=20),
    )
    def test_no_parameter_of_a_secret_name_is_shown(self, before: str, name: str, secret: str) -> None:
        """Whatever stands before it."""
        assert secret not in masked(f"{before}?{name}={secret}&b=c")

    @given(text=st.text("abc/?&=;#% ", max_size=50))
    def test_what_has_no_secret_stays(self, text: str) -> None:
        """Masking changes nothing else."""
        assert masked(text) == text

    @pytest.mark.parametrize("part", ["?", "&a=", "eyJ-", "//", "-eyJaaaaaaaa.", "sk-", "auth", "%26a", "bot1234567:"])
    def test_hostile_text_takes_no_time(self, part: str) -> None:
        """A header of 64 KiB is masked in a moment: the loop serves others too; the test has a time limit."""
        assert len(masked(part * (65536 // len(part)))) > 0
        assert is_secret(part * 65536) in {True, False}


@pytest.mark.parametrize(
    ("target", "own", "shown_path", "veiled_as"),
    [
        ("/v1/x?a=1", "/v1", "/v1", "/v1/x?a=1"),
        ("/hook/k1/x?a=1", "/hook/k1", "/hook/****", "/hook/****/x?a=1"),
        ("/hook/T1/k1/x", "/hook/T1/k1", "/hook/****", "/hook/****/x"),
        ("/hook/older/x?a=1", "/hook/k1", "/hook/****", "/hook/****/x?a=1"),
        ("/botolder/v1/x", "/botk1/v1", "/bot****/v1", "/bot****/v1/x"),
        ("/k1", "/k1", "/****", "/****"),
        ("/elsewhere", "/hook/k1", "/hook/****", "/elsewhere"),
    ],
)
def test_a_secret_in_the_path_of_a_url_is_veiled(target: str, own: str, shown_path: str, veiled_as: str) -> None:
    """That of now, and that of before it was changed; of what is below the url nothing is lost."""
    assert veiled(target, own, shown_path) == veiled_as


def test_infinity_is_what_nobody_knows() -> None:
    """The mark of an answer that was never judged, on which the null above rests."""
    assert listed().stored.fresh_until == -math.inf
