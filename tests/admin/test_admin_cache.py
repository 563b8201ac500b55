"""The stored answers in the control API, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.admin.api import admin_app
from proxy.admin.control import StoreDown

TOKEN = "correct-horse"
A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
async def admin(aiohttp_client: Any, control: Any) -> Any:
    return await aiohttp_client(admin_app(control, TOKEN), headers={"Authorization": f"Bearer {TOKEN}"})


async def told(response: Any, status: int) -> dict[str, Any]:
    """The problem+json that ``response`` is."""
    body: dict[str, Any] = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"]) == (status, status)
    return body


def idents(control: Any) -> list[str]:
    return [each["id"] for each in control.answers]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/cache"), ("DELETE", "/v1/cache?all=true"), ("GET", f"/v1/cache/{A}"), ("DELETE", f"/v1/cache/{A}")],
)
async def test_nothing_is_open(aiohttp_client: Any, control: Any, method: str, path: str) -> None:
    """Whoever has no token sees and purges nothing."""
    client = await aiohttp_client(admin_app(control, TOKEN))
    assert (await client.request(method, path)).status == 401
    assert idents(control) == [A, B, C]


class TestListing:
    """GET /v1/cache."""

    async def test_all(self, admin: Any, control: Any) -> None:
        """Entries come in the order that control gives them."""
        response = await admin.get("/v1/cache")
        assert await response.json() == {"entries": control.answers, "more": False}
        assert response.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("api=weather", [A, B]),
            ("route=default", [A, C]),
            ("api=weather&route=own", [B]),
            ("api=nobody", []),
            ("limit=3", [A, B, C]),
            ("limit=1000", [A, B, C]),
        ],
    )
    async def test_some(self, admin: Any, query: str, found: list[str]) -> None:
        """By api, by route, by both."""
        body = await (await admin.get(f"/v1/cache?{query}")).json()
        assert ([each["id"] for each in body["entries"]], body["more"]) == (found, False)

    async def test_a_list_that_was_cut_says_so(self, admin: Any) -> None:
        """What is beyond the limit is not shown, but told."""
        body = await (await admin.get("/v1/cache?limit=2")).json()
        assert ([each["id"] for each in body["entries"]], body["more"]) == ([A, B], True)

    async def test_a_hundred_without_a_limit(self, admin: Any, control: Any) -> None:
        """A large cache does not flood the terminal."""
        control.answers = control.answers[:1] * 101
        body = await (await admin.get("/v1/cache")).json()
        assert (len(body["entries"]), body["more"]) == (100, True)

    @pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "1.5", "9" * 5000, "²", "%20"])
    async def test_a_limit_that_is_none(self, admin: Any, limit: str) -> None:
        """The answer says what a limit is."""
        body = await told(await admin.get(f"/v1/cache?limit={limit}"), 400)
        assert body["detail"].startswith("limit is a whole number from 1 to 1000, not ")

    async def test_a_parameter_that_there_is_not(self, admin: Any) -> None:
        """Nothing that was asked is ignored."""
        body = await told(await admin.get("/v1/cache?apis=weather"), 400)
        assert body["detail"] == "There is no parameter 'apis' here; there is api, route, limit."

    async def test_a_store_that_is_down(self, admin: Any, control: Any) -> None:
        """A list without it would be taken for the whole."""
        control.down = StoreDown("The store 'shared' cannot be asked: it is down.")
        body = await told(await admin.get("/v1/cache"), 503)
        assert body["detail"] == "The store 'shared' cannot be asked: it is down."


class TestLooking:
    """GET /v1/cache/ID."""

    async def test_one(self, admin: Any, control: Any) -> None:
        """The entry itself, with its headers."""
        response = await admin.get(f"/v1/cache/{B}")
        assert (response.status, await response.json()) == (200, control.answers[1] | {"headers": []})

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("ident", ["0" * 32, "weather", A.upper(), A[1:], "a%0A"])
    async def test_one_that_there_is_not(self, admin: Any, control: Any, method: str, ident: str) -> None:
        """The answer says where ids come from."""
        body = await told(await admin.request(method, f"/v1/cache/{ident}"), 404)
        assert body["detail"].startswith("There is no stored answer with the id '")
        assert body["detail"].endswith("GET /v1/cache lists them.")
        assert len(control.answers) == 3

    async def test_a_store_that_is_down(self, admin: Any, control: Any) -> None:
        """It may be there: 404 would be a lie."""
        control.down = StoreDown("The store 'shared' cannot be asked: it is down.")
        await told(await admin.get(f"/v1/cache/{A}"), 503)


class TestPurging:
    """DELETE /v1/cache and /v1/cache/ID."""

    @pytest.mark.parametrize(
        ("path", "left"),
        [
            ("?api=weather", [C]),
            ("?route=default", [B]),
            ("?api=weather&route=default", [B, C]),
            ("?api=nobody", [A, B, C]),
            ("?all=true", []),
            (f"/{B}", [A, C]),
        ],
    )
    async def test_what_was_named_is_gone(self, admin: Any, control: Any, path: str, left: list[str]) -> None:
        """And nothing else; the answer tells how many."""
        response = await admin.delete(f"/v1/cache{path}")
        assert (response.status, await response.json()) == (200, {"purged": 3 - len(left)})
        assert idents(control) == left

    @pytest.mark.parametrize("query", ["", "?all=false", "?all=1", "?all=true&api=weather", "?all=no&route=own"])
    async def test_nobody_purges_everything_by_mistake(self, admin: Any, control: Any, query: str) -> None:
        """What is to go has to be said, and said once."""
        body = await told(await admin.delete(f"/v1/cache{query}"), 400)
        assert body["detail"].startswith("Say what to purge: ?api=NAME")
        assert idents(control) == [A, B, C]

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("api=weather&rout=own", "There is no parameter 'rout' here; there is api, route, all."),
            ("api=weather&api=stripe", "api is given twice; give it once."),
            ("api=weather&route=", "route has no value; give it one, or leave it out."),
        ],
    )
    async def test_a_slip_purges_nothing(self, admin: Any, control: Any, query: str, detail: str) -> None:
        """A narrower purge was meant than the rest of the query says."""
        assert (await told(await admin.delete(f"/v1/cache?{query}"), 400))["detail"] == detail
        assert idents(control) == [A, B, C]

    @pytest.mark.parametrize("path", ["?api=weather", f"/{A}"])
    async def test_a_store_that_is_down(self, admin: Any, control: Any, path: str) -> None:
        """The answer tells what was purged all the same."""
        control.down = StoreDown("The store 'shared' cannot be asked: it is down.", purged=2)
        body = await told(await admin.delete(f"/v1/cache{path}"), 503)
        assert (body["detail"], body["purged"]) == ("The store 'shared' cannot be asked: it is down.", 2)
