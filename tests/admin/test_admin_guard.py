"""Who gets into the admin API: whoever has the token, and nobody through a browser."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.guard import ProblemError, guard
from proxy.admin.guard import _is_authorized as is_authorized
from proxy.admin.guard import _is_ours as is_ours

TOKEN = "correct-horse"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def client(aiohttp_client: Any) -> Any:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("the database password is spoon")

    async def picky(request: web.Request) -> web.Response:
        raise ProblemError(422, "No.", length=len(await request.read()))

    app = web.Application(middlewares=[guard(TOKEN, ["Backstay.Test"])], client_max_size=10)
    app.add_routes([web.get("/hello", hello), web.get("/broken", broken), web.post("/picky", picky)])
    return await aiohttp_client(app)


async def told(response: ClientResponse, status: int) -> Any:
    """The members of a problem, after a check of its form."""
    body = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"]) == (status, status)
    assert body.keys() >= {"type", "title", "detail"}
    assert response.headers["Cache-Control"] == "no-store"
    return body


async def test_the_token_opens(client: Any) -> None:
    """With the token one gets through, and what one gets is not to be stored."""
    response = await client.get("/hello", headers=AUTH)
    assert (response.status, await response.text()) == (200, "hello")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/hello", "/nothing", "/"])
@pytest.mark.parametrize(
    "value", [None, "", TOKEN, "Bearer", "Bearer ", "Bearer wrong", "Basic " + TOKEN, "Bearer \udcff"]
)
async def test_without_the_token_there_is_nothing(client: Any, path: str, value: str | None) -> None:
    """A path that exists and one that does not look the same from outside."""
    headers = {} if value is None else {"Authorization": value}
    response = await client.get(path, headers=headers)
    await told(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_two_tokens_are_none(client: Any) -> None:
    """Two Authorization fields are ambiguous, and so refused."""
    response = await client.get("/hello", headers=[*AUTH.items(), *AUTH.items()])
    await told(response, 401)


@pytest.mark.parametrize("value", ["bearer correct-horse", "BEARER  correct-horse "])
def test_the_scheme_has_no_case(value: str) -> None:
    """RFC 9110, 11.1: the name of a scheme is case-insensitive."""
    assert is_authorized([value], TOKEN.encode())


@given(token=st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Z"]), min_size=1), other=st.text())
def test_only_the_token_authorizes(token: str, other: str) -> None:
    """Nothing but the token itself, space aside, is the token."""
    assert is_authorized([f"Bearer {token}"], token.encode())
    assert is_authorized([f"Bearer {other}"], token.encode()) == (other.strip() == token)


def test_a_guard_without_a_token_cannot_be_made() -> None:
    """An empty token would be no lock at all."""
    with pytest.raises(ValueError, match="needs a token"):
        guard("", [])


async def test_a_page_in_a_browser_is_refused(client: Any) -> None:
    """A request with an Origin comes from a page, and no page may administer."""
    response = await client.get("/hello", headers=AUTH | {"Origin": "http://localhost:7072"})
    assert "browser" in (await told(response, 403))["detail"]


async def test_a_foreign_host_is_refused(client: Any) -> None:
    """A name that somebody has pointed at this address (DNS rebinding) opens nothing, even with the token."""
    response = await client.get("/hello", headers=AUTH | {"Host": "evil.test"})
    assert "Host" in (await told(response, 403))["detail"]


async def test_a_known_host_is_not_foreign(client: Any) -> None:
    """The operator may name the hosts by which the listener is called."""
    response = await client.get("/hello", headers=AUTH | {"Host": "backstay.test:7072"})
    assert response.status == 200


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("10.2.3.4:7072", True),
        ("[::1]", True),
        ("[::1]:7072", True),
        ("localhost:7072", True),
        ("LocalHost", True),
        ("", False),
        ("evil.test", False),
        ("127.0.0.1.evil.test", False),
        ("localhost.evil.test:7072", False),
        ("[evil.test]", False),
    ],
)
def test_hosts(host: str, ours: bool) -> None:
    """Addresses and localhost are ours, in every form; a name is not."""
    assert is_ours(host, {"localhost"}) == ours


async def test_an_unknown_path_is_a_problem(client: Any) -> None:
    """To those who may know, a 404 says what is missing."""
    response = await client.get("/nothing", headers=AUTH)
    assert (await told(response, 404))["detail"] == "GET /nothing: Not Found"


async def test_a_wrong_method_is_a_problem(client: Any) -> None:
    """A 405 says what is allowed."""
    response = await client.delete("/picky", headers=AUTH)
    await told(response, 405)
    assert response.headers["Allow"] == "POST"


async def test_a_large_body_is_a_problem(client: Any) -> None:
    """A body is read up to a bound."""
    await told(await client.post("/picky", headers=AUTH, data=b"x" * 11), 413)


async def test_a_problem_has_members(client: Any) -> None:
    """What a handler adds is a member beside those of RFC 9457."""
    body = await told(await client.post("/picky", headers=AUTH, data=b"x" * 10), 422)
    assert (body["detail"], body["length"]) == ("No.", 10)


async def test_a_defect_is_logged_and_not_shown(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours is a 500 that tells nothing of its insides."""
    with caplog.at_level(logging.ERROR, "backstay"):
        response = await client.get("/broken", headers=AUTH)
    assert "spoon" not in str(await told(response, 500))
    assert "spoon" in caplog.text
