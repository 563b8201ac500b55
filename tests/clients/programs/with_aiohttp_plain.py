"""aiohttp as it comes: it reads no variable of a proxy."""

import asyncio
import time

import aiohttp
from steps import blame

BASE = "https://api.vendor.example/v1/"


async def main():
    async with aiohttp.ClientSession(BASE) as session:

        async def call(method, path, **options):
            async with session.request(method, path, **options) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {await answer.text()}")
                return await answer.json()

        async def plain():
            return (await call("POST", "plain", json={}))["text"]

        async def stream():
            async with session.get("stream") as answer:
                times = [time.monotonic() async for line in answer.content if line.strip()]
            return f"{len(times)} {times[-1] - times[0]:.2f}"

        async def retry():
            return (await call("POST", "flaky", json={}))["text"]

        async def cache():
            return " ".join([str((await call("GET", "cached"))["number"]) for _ in range(2)])

        async def dedup():
            key = {"Idempotency-Key": "order-1"}
            return " ".join(
                [str((await call("POST", "once", json={"pay": 1}, headers=key))["number"]) for _ in range(2)]
            )

        async def breaker():
            ends = []
            for _ in range(8):
                try:
                    await call("POST", "down", json={})
                    ends.append("ok")
                except Exception as error:
                    ends.append(blame(error))
            return f"{ends.count('ok')} ok, last: {ends[-1]}"

        for act in (plain, stream, retry, cache, dedup, breaker):
            try:
                print(act.__name__, await act(), flush=True)
            except Exception as error:
                print(act.__name__, "failed:", blame(error), flush=True)


asyncio.run(main())
