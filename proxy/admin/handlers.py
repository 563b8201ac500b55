"""What the handlers of the control API have in common: JSON in, JSON out, and questions in the query.

Used by ``admin/api.py``, ``admin/cache.py`` and ``admin/idempotency.py``. What is asked in a way that is not meant is
refused with an example of what is: a parameter that was misspelt, and so ignored, might purge a whole cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import web

from proxy.admin.control import State, StoreDown
from proxy.admin.guard import Handler, ProblemError

_USUAL: Final = 100  # lines of a list that one sees without asking for more
_MOST: Final = 1000
_IDENT: Final = re.compile(r"[0-9a-f]{32}")


def answered(body: State) -> web.Response:
    """A JSON object, laid out for eyes."""
    return web.json_response(text=json.dumps(body, indent=2) + "\n")


def shown(read: Callable[[], State]) -> Handler:
    """A handler that shows what there is."""

    async def handler(_: web.Request) -> web.Response:
        return answered(read())

    return handler


def listed(name: str, read: Callable[[], Sequence[State]]) -> Handler:
    """A handler that shows what there are several of, under their name."""
    return shown(lambda: {name: list(read())})


async def word(request: web.Request, key: str, known: Sequence[str] = ()) -> Any:
    """The one value of a body like {"state": "open"}. Raises ProblemError if it is anything else."""
    example = f'{{"{key}": "{"|".join(known) or "..."}"}}'
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise ProblemError(400, f"The body is not JSON; send {example}.") from None
    if not isinstance(body, dict) or body.keys() != {key} or not isinstance(body[key], str):
        raise ProblemError(400, f"The body is not of the form {example}.")
    if known and body[key] not in known:
        raise ProblemError(400, f"{key} is {' or '.join(known)}, not {body[key]!r}.")
    return body[key]


def parameters(request: web.Request, *known: str) -> dict[str, str]:
    """The query, as each parameter with its value. Raises ProblemError for one unknown, repeated or empty."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            raise ProblemError(400, f"There is no parameter {name!r} here; there is {', '.join(known)}.")
        if name in found:
            raise ProblemError(400, f"{name} is given twice; give it once.")
        if not value:
            raise ProblemError(400, f"{name} has no value; give it one, or leave it out.")
        found[name] = value
    return found


def number(text: str, name: str, least: int, most: int) -> int:
    """A parameter that is a whole number. Raises ProblemError if it is none, or not from ``least`` to ``most``."""
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
    if value is None or not least <= value <= most:
        raise ProblemError(400, f"{name} is a whole number from {least} to {most}, not {text!r}.")
    return value


def limit_of(asked: Mapping[str, str]) -> int:
    """The limit of a list, as it was asked for or not. Raises ProblemError."""
    return number(asked.get("limit", str(_USUAL)), "limit", 1, _MOST)


def ident_of(request: web.Request, nothing: Callable[[str], ProblemError]) -> str:
    """The id in the path; what can be none is answered with ``nothing``, as one that there is not."""
    ident = request.match_info["id"]
    if not _IDENT.fullmatch(ident):
        raise nothing(ident)
    return ident


@contextmanager
def stores_answering() -> Iterator[None]:
    """A store that does not answer makes the request fail with 503, and with what was done all the same."""
    try:
        yield
    except StoreDown as error:
        done = {} if error.purged is None else {"purged": error.purged}
        raise ProblemError(503, str(error), **done) from None
