"""requests."""

import requests
from steps import often, step, streamed

BASE = "https://api.vendor.example/v1"


def call(method, path, **options):
    answer = requests.request(method, BASE + path, timeout=30, **options)
    answer.raise_for_status()
    return answer.json()


def stream():
    with requests.get(BASE + "/stream", stream=True, timeout=30) as answer:
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
