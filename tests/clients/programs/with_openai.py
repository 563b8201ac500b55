"""The openai SDK."""

from openai import OpenAI
from steps import often, step, streamed

client = OpenAI(api_key="sk-agent", max_retries=0)
SAID = [{"role": "user", "content": "hi"}]


def complete(model, **options):
    return client.chat.completions.create(model=model, messages=SAID, **options)


def cached():
    return client.models.list().data[0].id


def once():
    return complete("once", extra_headers={"Idempotency-Key": "order-1"}).id


step("plain", lambda: complete("plain").choices[0].message.content)
step("stream", lambda: streamed(piece.choices[0].delta.content for piece in complete("stream", stream=True)))
step("retry", lambda: complete("flaky").choices[0].message.content)
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: complete("down")))
