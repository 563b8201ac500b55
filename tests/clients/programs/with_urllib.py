"""urllib of the standard library."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from steps import often, step, streamed

BASE = "https://api.vendor.example/v1"


def call(method, path, data=None, headers=None):
    request = Request(BASE + path, data, headers or {}, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise RuntimeError(f"{error.code} {error.read().decode()}") from error


def stream():
    with urlopen(BASE + "/stream", timeout=30) as answer:
        return streamed(line.strip() for line in answer)


def cached():
    return call("GET", "/cached")["number"]


def once():
    return call("POST", "/once", b"{}", {"Idempotency-Key": "order-1"})["number"]


step("plain", lambda: call("POST", "/plain", b"{}")["text"])
step("stream", stream)
step("retry", lambda: call("POST", "/flaky", b"{}")["text"])
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: call("POST", "/down", b"{}")))
