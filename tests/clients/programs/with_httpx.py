"""httpx."""

import httpx
from steps import often, step, streamed

client = httpx.Client(base_url="https://api.vendor.example/v1", timeout=30)


def call(method, path, **options):
    return client.request(method, path, **options).raise_for_status().json()


def stream():
    with client.stream("GET", "/stream") as answer:
        return streamed(line for line in answer.iter_lines() if line)


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
