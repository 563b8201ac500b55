"""Calls that must happen once in the control API, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.admin.api import admin_app
from proxy.admin.control import StoreDown

TOKEN = "correct-horse"
D, E, F = "d" * 32, "e" * 32, "f" * 32
AWAY = "The store 'ledger' did not answer (look: it is down); ask again once it is up."


@pytest.fixture
async def admin(aiohttp_client: Any, control: Any) -> Any:
    return await aiohttp_client(admin_app(control, TOKEN), headers={"Authorization": f"Bearer {TOKEN}"})


async def told(response: Any, status: int) -> dict[str, Any]:
    """The problem+json that ``response`` is."""
    body: dict[str, Any] = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"]) == (status, status)
    return body


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/idempotency"), ("GET", f"/v1/idempotency/{D}"), ("POST", f"/v1/idempotency/{D}")]
)
async def test_nothing_is_open(aiohttp_client: Any, control: Any, method: str, path: str) -> None:
    """Whoever has no token sees and settles nothing."""
    client = await aiohttp_client(admin_app(control, TOKEN))
    assert (await client.request(method, path, json={"outcome": "absent"})).status == 401
    assert len(control.calls) == 3


class TestListing:
    """GET /v1/idempotency."""

    async def test_all(self, admin: Any, control: Any) -> None:
        """Records in the order that control gives them; only what waits for a person."""
        response = await admin.get("/v1/idempotency")
        assert await response.json() == {"records": control.calls[:2], "more": False}
        assert response.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("query", "found", "more"),
        [
            ("api=stripe", [D], False),
            ("api=nobody", [], False),
            ("store=ledger", [D, E], False),
            ("store=memory", [], False),
            ("limit=2", [D, E], False),
            ("limit=1", [D], True),
        ],
    )
    async def test_some(self, admin: Any, query: str, found: list[str], more: bool) -> None:
        """By api and ledger; a list that was cut says so."""
        body = await (await admin.get(f"/v1/idempotency?{query}")).json()
        assert ([each["id"] for each in body["records"]], body["more"]) == (found, more)

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("route=own", "There is no parameter 'route' here; there is api, store, limit."),
            ("limit=1001", "limit is a whole number from 1 to 1000, not '1001'."),
            ("store=shared", "There is no ledger 'shared' in use; there is ledger, memory."),
        ],
    )
    async def test_a_question_that_is_not_meant(self, admin: Any, query: str, detail: str) -> None:
        """An empty list would be taken for an answer."""
        assert (await told(await admin.get(f"/v1/idempotency?{query}"), 400))["detail"] == detail

    async def test_no_ledger_in_use(self, admin: Any, control: Any) -> None:
        """Nothing is listed, and no ledger has a name."""
        control.calls, control.ledgers = [], list
        assert (await (await admin.get("/v1/idempotency")).json())["records"] == []
        assert (await told(await admin.get("/v1/idempotency?store=memory"), 400))["detail"].endswith("there is none.")

    async def test_a_ledger_that_is_away(self, admin: Any, control: Any) -> None:
        """A list without it would be taken for the whole."""
        control.down = StoreDown(AWAY)
        body = await told(await admin.get("/v1/idempotency"), 503)
        assert (body["detail"], "purged" in body) == (AWAY, False)


class TestLooking:
    """GET /v1/idempotency/ID."""

    @pytest.mark.parametrize("query", ["", "?store=memory"])
    async def test_one(self, admin: Any, control: Any, query: str) -> None:
        """Of any state."""
        response = await admin.get(f"/v1/idempotency/{F}{query}")
        assert (response.status, await response.json()) == (200, control.calls[2])

    @pytest.mark.parametrize("path", ["0" * 32, "order-17", D.upper(), D[1:], "a%0A", f"{D}?store=memory"])
    async def test_one_that_there_is_not(self, admin: Any, path: str) -> None:
        """The answer says where ids come from."""
        body = await told(await admin.get(f"/v1/idempotency/{path}"), 404)
        assert body["detail"].startswith("There is no record of a call with the id '")
        assert body["detail"].endswith("GET /v1/idempotency lists those that are in doubt.")

    async def test_a_ledger_that_is_away(self, admin: Any, control: Any) -> None:
        """It may be there: 404 would be a lie."""
        control.down = StoreDown(AWAY)
        await told(await admin.get(f"/v1/idempotency/{D}"), 503)


class TestSettling:
    """POST /v1/idempotency/ID."""

    async def test_it_was_carried_out(self, admin: Any, control: Any) -> None:
        """The answer is the record as it is now."""
        response = await admin.post(f"/v1/idempotency/{D}", json={"outcome": "done"})
        assert (response.status, await response.json()) == (200, control.calls[0] | {"state": "done"})

    async def test_it_was_not(self, admin: Any, control: Any) -> None:
        """There is no record any more."""
        response = await admin.post(f"/v1/idempotency/{D}?store=ledger", json={"outcome": "absent"})
        assert (response.status, await response.json()) == (200, {"id": D, "outcome": "absent"})
        assert [each["id"] for each in control.calls] == [E, F]

    async def test_where_there_is_no_doubt(self, admin: Any, control: Any) -> None:
        """The answer says why, and has the record."""
        body = await told(await admin.post(f"/v1/idempotency/{F}", json={"outcome": "absent"}), 409)
        assert (body["detail"], body["records"]) == ("There is no doubt.", [control.calls[2]])

    @pytest.mark.parametrize("path", ["0" * 32, "order-17", f"{D}?store=memory"])
    async def test_one_that_there_is_not(self, admin: Any, control: Any, path: str) -> None:
        """Nothing is settled."""
        await told(await admin.post(f"/v1/idempotency/{path}", json={"outcome": "absent"}), 404)
        assert len(control.calls) == 3

    @pytest.mark.parametrize(
        ("query", "body", "detail"),
        [
            ("", b"absent", 'The body is not JSON; send {"outcome": "done|absent"}.'),
            ("", b'{"state": "absent"}', 'The body is not of the form {"outcome": "done|absent"}.'),
            ("", b'{"outcome": "lost"}', "outcome is done or absent, not 'lost'."),
            ("?api=stripe", b'{"outcome": "absent"}', "There is no parameter 'api' here; there is store."),
            ("?store=shared", b'{"outcome": "absent"}', "There is no ledger 'shared' in use; there is ledger, memory."),
        ],
    )
    async def test_a_slip_settles_nothing(self, admin: Any, control: Any, query: str, body: bytes, detail: str) -> None:
        """The answer says what is wrong."""
        assert (await told(await admin.post(f"/v1/idempotency/{D}{query}", data=body), 400))["detail"] == detail
        assert len(control.calls) == 3

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
    async def test_nobody_settles_all_at_once(self, admin: Any, control: Any, method: str) -> None:
        """Each call was looked up at its vendor."""
        body = await told(await admin.request(method, "/v1/idempotency?api=stripe", json={"outcome": "absent"}), 405)
        assert body["detail"].endswith("Method Not Allowed")
        assert len(control.calls) == 3

    async def test_a_ledger_that_is_away(self, admin: Any, control: Any) -> None:
        """The doubt stays, and so does the task."""
        control.down = StoreDown(AWAY)
        await told(await admin.post(f"/v1/idempotency/{D}", json={"outcome": "done"}), 503)
