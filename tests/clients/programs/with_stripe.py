"""The stripe SDK. What it streams is a file."""

import stripe
from steps import often, step, streamed

client = stripe.StripeClient("sk_test_agent", max_network_retries=0)


def create(description, **options):
    return client.v1.customers.create({"description": description}, options)


def stream():
    file = client.v1.quotes.pdf("qt_1")
    return streamed(iter(lambda: file.io.read(6), b""))


def cached():
    return client.v1.customers.retrieve("cached").id


def once():
    return create("once", idempotency_key="order-1").id


step("plain", lambda: create("plain").description)
step("stream", stream)
step("retry", lambda: create("flaky").description)
step("cache", lambda: f"{cached()} {cached()}")
step("dedup", lambda: f"{once()} {once()}")
step("breaker", lambda: often(lambda: create("down")))
