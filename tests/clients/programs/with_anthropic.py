"""The anthropic SDK."""

from anthropic import Anthropic
from steps import often, step, streamed

client = Anthropic(api_key="sk-agent", max_retries=0)


def create(model, **options):
    said = [{"role": "user", "content": "hi"}]
    return client.messages.create(model=model, max_tokens=10, messages=said, **options)


def stream():
    return streamed(event.type == "content_block_delta" for event in create("stream", stream=True))


def cached():
    return client.models.list().data[0].id


def once():
    return create("once", extra_headers={"Idempotency-Key": "order-1"}).id


step("plain", lambda: create("plain").content[0].text)
step("stream", stream)
step("retry", lambda: create("flaky").content[0].text)
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: create("down")))
