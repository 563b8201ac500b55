"""urllib3, as its own documentation uses it: a PoolManager, which reads no variable."""

import urllib3
from steps import often, step, streamed

BASE = "https://api.vendor.example/v1"
http = urllib3.PoolManager(retries=False, timeout=30)


def call(method, path, **options):
    answer = http.request(method, BASE + path, **options)
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {answer.data.decode()}")
    return answer.json()


def stream():
    return streamed(http.request("GET", BASE + "/stream", preload_content=False).stream())


def cached():
    return call("GET", "/cached")["number"]


def once():
    return call("POST", "/once", json={"pay": 1}, headers={"Idempotency-Key": "order-1"})["number"]


step("plain", lambda: call("POST", "/plain", json={})["text"])
step("stream", stream)
step("retry", lambda: call("POST", "/flaky", json={})["text"])
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: call("POST", "/down", json={})))
