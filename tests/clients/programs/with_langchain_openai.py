"""langchain-openai. It has no GET: what is cached is an embedding."""

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from steps import often, step, streamed


def chat(model, **options):
    return ChatOpenAI(model=model, api_key="sk-agent", max_retries=0, **options)


def cached():
    embeddings = OpenAIEmbeddings(model="cached", api_key="sk-agent", max_retries=0, check_embedding_ctx_length=False)
    return embeddings.embed_query("hi")[0]


def once():
    return chat("once", default_headers={"Idempotency-Key": "order-1"}).invoke("hi").response_metadata["id"]


step("plain", lambda: chat("plain").invoke("hi").content)
step("stream", lambda: streamed(piece.content for piece in chat("stream").stream("hi")))
step("retry", lambda: chat("flaky").invoke("hi").content)
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: chat("down").invoke("hi")))
