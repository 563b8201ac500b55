"""google-genai."""

from google import genai
from google.genai import types
from steps import often, step, streamed

client = genai.Client(api_key="key-agent")


def generate(model, **options):
    return client.models.generate_content(model=model, contents="hi", **options)


def stream():
    return streamed(piece.text for piece in client.models.generate_content_stream(model="stream", contents="hi"))


def cached():
    return next(iter(client.models.list())).name


def once():
    options = types.HttpOptions(headers={"Idempotency-Key": "order-1"})
    return generate("once", config=types.GenerateContentConfig(http_options=options)).response_id


step("plain", lambda: generate("plain").text)
step("stream", stream)
step("retry", lambda: generate("flaky").text)
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: generate("down")))
