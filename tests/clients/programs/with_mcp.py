"""mcp: tools of a server over streamable HTTP. It has neither a GET that is kept nor a key."""

import asyncio
import time

from mcp import Client
from steps import blame

URL = "https://mcp.vendor.example/mcp"


async def main():
    async def call(tool, **options):
        async with Client(URL) as client:
            result = await client.call_tool(tool, {}, **options)
            return result.content[0].text

    async def plain():
        return await call("plain")

    async def stream():
        times = []

        async def progress(*_):
            times.append(time.monotonic())

        await call("stream", progress_callback=progress)
        return f"{len(times)} {times[-1] - times[0]:.2f}"

    async def retry():
        return await call("flaky")

    async def breaker():
        ends = []
        for _ in range(8):
            try:
                await call("down")
                ends.append("ok")
            except BaseException as error:
                ends.append(blame(error))
        return f"{ends.count('ok')} ok, last: {ends[-1]}"

    async def dedup():
        return " ".join([(await call("once")).split()[-1] for _ in range(2)])

    for act in (plain, stream, retry, dedup, breaker):
        try:
            print(act.__name__, await act(), flush=True)
        except BaseException as error:
            print(act.__name__, "failed:", blame(error), flush=True)


asyncio.run(main())
