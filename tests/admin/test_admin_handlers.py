"""What the handlers of the control API have in common. Over HTTP it is tested with what uses it."""

from __future__ import annotations

import json

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.control import StoreDown
from proxy.admin.guard import ProblemError
from proxy.admin.handlers import answered, ident_of, limit_of, listed, number, parameters, shown, stores_answering


def test_json_is_laid_out_for_eyes() -> None:
    """One field a line, and an end of line for the shell."""
    response = answered({"a": 1, "b": [2]})
    assert (response.text, response.content_type) == ('{\n  "a": 1,\n  "b": [\n    2\n  ]\n}\n', "application/json")


async def test_what_is_shown_is_read_at_each_request() -> None:
    """A handler holds no state of its own."""
    numbers = iter((1, 2))
    handler = listed("numbers", lambda: [{"name": next(numbers)}])
    texts = [(await handler(make_mocked_request("GET", "/"))).body for _ in range(2)]  # type: ignore[attr-defined]
    assert [json.loads(text) for text in texts] == [{"numbers": [{"name": 1}]}, {"numbers": [{"name": 2}]}]


async def test_a_single_object_is_shown_as_it_is() -> None:
    """Its fields are those of the answer."""
    response = await shown(lambda: {"ready": True})(make_mocked_request("GET", "/"))
    assert json.loads(response.body) == {"ready": True}  # type: ignore[attr-defined]


@given(given_=st.dictionaries(st.sampled_from(["api", "route"]), st.sampled_from(["a", "b/c", "%26", "all=true"])))
def test_parameters_are_what_was_sent(given_: dict[str, str]) -> None:
    """Every known parameter once, decoded; values are any text."""
    query = "&".join(f"{name}={value}" for name, value in given_.items())
    found = parameters(make_mocked_request("GET", f"/?{query}"), "api", "route")
    assert found == {name: value.replace("%26", "&") for name, value in given_.items()}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("app=a", "There is no parameter 'app' here; there is api, route."),
        ("api=a&api=a", "api is given twice"),
        ("api", "api has no value"),
        ("=a", "There is no parameter ''"),
    ],
)
def test_parameters_that_are_not_meant(query: str, detail: str) -> None:
    """Each is refused with what is wrong."""
    with pytest.raises(ProblemError, match=detail) as caught:
        parameters(make_mocked_request("GET", f"/?{query}"), "api", "route")
    assert caught.value.status == 400


@given(value=st.integers(min_value=1, max_value=1000))
def test_a_number_within_its_bounds(value: int) -> None:
    """Bounds are included; leading zeros are no fault."""
    assert number(str(value), "limit", 1, 1000) == number(f"0{value}", "limit", 1, 1000) == value


@given(text=st.text() | st.integers().filter(lambda value: not 1 <= value <= 1000).map(str))
def test_anything_else_is_no_number(text: str) -> None:
    """Whatever it is, the answer is a problem and not a defect."""
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 1000:
        return
    with pytest.raises(ProblemError, match="limit is a whole number from 1 to 1000"):
        number(text, "limit", 1, 1000)


@pytest.mark.parametrize(("asked", "limit"), [({}, 100), ({"limit": "1"}, 1), ({"limit": "1000"}, 1000)])
def test_a_list_has_a_limit(asked: dict[str, str], limit: int) -> None:
    """A hundred, unless fewer or more are asked for."""
    assert limit_of(asked) == limit


def test_an_id_that_can_be_none() -> None:
    """It is answered as one that there is not; no store is asked for it."""
    asked = {ident: make_mocked_request("GET", "/", match_info={"id": ident}) for ident in ("a" * 32, "A" * 32)}
    with pytest.raises(ProblemError, match="no AAA"):
        ident_of(asked["A" * 32], lambda ident: ProblemError(404, f"no {ident}"))
    assert ident_of(asked["a" * 32], lambda ident: ProblemError(404, f"no {ident}")) == "a" * 32


@pytest.mark.parametrize(("purged", "members"), [(None, {}), (0, {"purged": 0}), (2, {"purged": 2})])
def test_a_store_that_does_not_answer(purged: int | None, members: dict[str, int]) -> None:
    """The request fails with 503, and tells what was done all the same if anything was to be."""
    with pytest.raises(ProblemError) as caught, stores_answering():
        raise StoreDown("it is down", purged)
    assert (caught.value.status, caught.value.members) == (503, {"detail": "it is down"} | members)
