"""An ordinary agent: it knows of no proxy. Prints what each of its calls came to, as JSON."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import stripe
import urllib3


def by_urllib3(url: str) -> Any:
    return urllib3.PoolManager(retries=False, timeout=5).request("GET", url).json()["target"]


def by_aiohttp(url: str, **options: Any) -> Any:
    async def call() -> Any:
        async with aiohttp.ClientSession(**options) as session, session.get(url) as response:
            return (await response.json())["target"]

    return asyncio.run(call())


def by_stripe() -> Any:
    client = stripe.StripeClient("sk_test_x", max_network_retries=0)
    return json.loads(client.raw_request("get", "/v1/balance").body)["target"]


CALLS: dict[str, Callable[[], Any]] = {
    "urllib3": lambda: by_urllib3("https://api.vendor.test/urllib3"),
    "urllib3 in the clear": lambda: by_urllib3("http://clear.vendor.test/urllib3"),
    "aiohttp": lambda: by_aiohttp("https://api.vendor.test/aiohttp"),
    "aiohttp in the clear": lambda: by_aiohttp("http://clear.vendor.test/aiohttp"),
    "stripe": by_stripe,
    "aiohttp, told not to": lambda: by_aiohttp("https://127.0.0.9:1/", trust_env=False),
    "urllib3, exempt": lambda: by_urllib3("http://127.0.0.1:1/"),
}

results = {}
for name, call in CALLS.items():
    try:
        results[name] = call()
    except Exception as error:
        results[name] = type(error).__name__
sys.stdout.write(json.dumps(results))
