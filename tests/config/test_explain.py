"""Explaining a call: which api and route, and every setting with its line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from proxy.config.explain import explain
from proxy.config.settings import Config

TEXT = """\
version: 1
defaults: {timeout: {total: 1m}}
apis:
  stripe:
    url: https://api.stripe.com/base
    mount: /stripe
    retry: {backoff: {max: 1s}}
    routes:
      - name: charges
        match: {methods: [POST], paths: [/v1/charges]}
        retry: off
        breaker: {probes: 1}
  other:
    url: https://${env:HOST}
"""


@pytest.fixture
def config(loads: Callable[..., Config]) -> Config:
    return loads(TEXT, HOST="hidden.example")


def rows(text: str) -> list[list[str]]:
    """The words of each line, with the name of the file cut off."""
    return [[word.rpartition("/backstay.yaml")[2] or word for word in line.split()] for line in text.splitlines()]


@pytest.mark.parametrize(
    "url",
    [
        "/stripe/v1/charges?x=1",
        "http://127.0.0.1:7070/stripe/v1/charges?x=1",
        "http://localhost:7070/stripe/v1/charges?x=1",
        "https://api.stripe.com/base/v1/charges?x=1",
        "https://API.stripe.com:443/base/v1/charges?x=1#part",
    ],
)
def test_finds_the_api_and_the_route(url: str, config: Config) -> None:
    """By mount, at the agent's address, and by the host of the api, where the path is the vendor's own."""
    found = rows(explain(config, "post", url))
    assert found[0] == ["POST", *rows(url)[0]]
    assert found[1:5] == [
        ["api", "stripe", ":4"],
        ["route", "charges", ":9"],
        ["path", "/v1/charges", "what", "routes", "are", "matched", "against"],
        ["sent", "to", "https://api.stripe.com/base/v1/charges?x=1", ":5"],
    ]


def test_what_is_caught_is_sent_as_it_came(config: Config) -> None:
    """The agent called the vendor itself: the path of the url is no part of what it may call."""
    found = rows(explain(config, "GET", "https://api.stripe.com/v2/x"))
    assert ["path", "/v2/x", "what", "routes", "are", "matched", "against"] in found
    assert ["sent", "to", "https://api.stripe.com/v2/x", ":5"] in found


def test_shows_every_setting_with_its_line(config: Config) -> None:
    """Those of the defaults, of the api and of the route, and those that nobody set."""
    found = rows(explain(config, "POST", "/stripe/v1/charges"))
    assert ["retry", "off", ":11"] in found
    assert ["rate_limit", "off", "default"] in found
    assert ["probes", "1", ":12"] in found
    assert ["total", "1m", ":2"] in found
    assert ["connect", "2s", "default"] in found
    assert ["failure", "[500-599]", "default"] in found
    assert ["ca_file", "none", "default"] in found


def test_a_call_that_matches_no_route_has_the_policies_of_the_api(config: Config) -> None:
    """Its label is default."""
    found = rows(explain(config, "GET", "/stripe/v1/charges"))
    assert ["route", "default", "no", "route", "matches"] in found
    assert ["backoff.max", "1s", ":7"] in found
    assert ["safe", "false", "default"] in found


def test_the_chain_stands_in_its_order(config: Config) -> None:
    """From the outermost policy to the upstream."""
    text = explain(config, "GET", "/stripe/v1/charges")
    heads = (
        "\n  fallback",
        "\n  idempotency",
        "\n  cache",
        "\n  retry",
        "\n  breaker",
        "\n  rate_limit",
        "\n  timeout",
        "\n  classify",
        "\n  credentials",
        "\n  connections",
        "\n  tls",
        "\n  upstream_proxy",
    )
    places = [text.index(head) for head in heads]
    assert places == sorted(places)


def test_the_columns_are_aligned(config: Config) -> None:
    """It is read by people."""
    lines = explain(config, "GET", "/stripe/x").splitlines()
    assert len({line.index("default") for line in lines if line.endswith(" default")}) == 1


def test_secrets_stay_masked(config: Config) -> None:
    """Even where the call names what is hidden."""
    text = explain(config, "GET", "https://hidden.example/x")
    assert "https://****/x" in text
    assert "hidden.example" not in text.partition("\n")[2]


def test_says_what_there_is_if_nothing_matches(config: Config) -> None:
    """With mounts and hosts, so that the mistake shows."""
    text = explain(config, "GET", "/nowhere")
    assert "the agent gets a 404 (no_api)" in text
    assert rows(text)[2:] == [
        ["stripe", "http://127.0.0.1:7070/stripe", "host", "api.stripe.com"],
        ["other", "no", "mount", "host", "****"],
    ]


@pytest.mark.parametrize(
    "url", ["", "stripe/v1", "ftp://x/y", "http:///y", "http://x:y/", "http://x:0/", "http://a b/"]
)
def test_says_what_it_takes(url: str, config: Config) -> None:
    """A url, or a path at the agent's address."""
    with pytest.raises(ValueError, match="write https://host/path or /mount/path"):
        explain(config, "GET", url)


CACHED = """\
version: 1
apis:
  x:
    url: http://x
    mount: /x
    cache: {mode: ttl, ttl: 30s}
    fallback:
      - stale
      - api: y
      - status: 503
        headers: {x-key: "${env:KEY}"}
        body: |
          {"degraded":
           true}
    routes:
      - {name: off, match: {paths: [/off]}, cache: off, fallback: off}
      - {name: long, match: {paths: [/long]}, fallback: [{status: 200, body: "LONG"}]}
  y: {url: http://y}
""".replace("LONG", "long " * 40)


@pytest.fixture
def cached(loads: Callable[..., Config]) -> Config:
    return loads(CACHED, KEY="hidden")


def test_a_fallback_has_a_line_for_each_step(cached: Config) -> None:
    """In the order in which they are tried, each with its line, secrets masked."""
    found = rows(explain(cached, "GET", "/x/a"))
    assert ["1.", "stale", ":8"] in found
    assert ["2.", "api", "y", ":9"] in found
    answer = 'answer 503, x-key: ****, content-type: application/json, {"degraded": true}'
    assert ["3.", *answer.split(), ":10"] in found


def test_a_step_that_is_too_long_is_cut_and_leaves_the_others_in_line(cached: Config) -> None:
    """The whole of it is in the file, and at the admin API."""
    lines = explain(cached, "GET", "/x/long").splitlines()
    (step,) = (line for line in lines if "answer 200" in line)
    assert "long..." in step
    assert len(step.partition("answer")[2].partition("...")[0]) < 120
    assert len({line.index("default") for line in lines if line.endswith(" default")}) == 1


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("GET", "is answered from here, where that may be"),
        ("post", "passes, and drops what is kept of its target"),
        ("OPTIONS", "passes "),
    ],
)
def test_says_what_the_cache_does_with_the_call(method: str, said: str, cached: Config) -> None:
    """A read, a write, or neither."""
    text = explain(cached, method, "/x/a")
    (line,) = (line for line in text.splitlines() if "this call" in line)
    assert said in line
    assert method.upper() in line


def test_shows_every_setting_of_the_cache(cached: Config) -> None:
    """With its line; nothing of it where there is none."""
    found = rows(explain(cached, "GET", "/x/a"))
    assert ["ttl", "30s", ":6"] in found
    assert ["stale_if_error", "1h", "default"] in found
    off = explain(cached, "GET", "/x/off")
    assert ["cache", "off", ":16"] in rows(off)
    assert ["fallback", "off", ":16"] in rows(off)
    assert "this call" not in off


ONCE = """\
version: 1
defaults: {idempotency: {retain: 1h}}
apis:
  stripe: {url: https://api.stripe.com, mount: /stripe}
  paypal: {url: https://api-m.paypal.com, mount: /paypal, idempotency: {header: X-Key, require: true}}
  x:
    url: http://x
    mount: /x
    idempotency: {derive: {from: [body, path], scope: "header:x-run", window: 1m}}
    routes:
      - {name: says, match: {paths: [/says]}, idempotency: {upstream: honours, mode: shadow, derive: off}}
      - {name: named, match: {paths: [/named]}, idempotency: {upstream: honours, upstream_header: X-Once}}
      - {name: ignores, match: {paths: [/ignores]}, idempotency: {upstream: ignores}}
      - {name: without, match: {paths: [/without]}, idempotency: off}
"""
_LABELS = ("this call", "with a key", "without one", "the vendor", "and there")


@pytest.fixture
def once(loads: Callable[..., Config]) -> Config:
    return loads(ONCE)


def said(text: str) -> list[str]:
    """What is computed for the call, and not configured; the line that it comes from behind a bar."""
    lines = [line.strip() for line in text.splitlines()]
    cells = [re.split("  +", line) for line in lines if line.startswith(_LABELS)]
    return [f"{value} | {origin.rpartition('/backstay.yaml')[2]}" for _, value, origin in cells]


def test_says_where_the_key_of_a_call_comes_from_and_where_it_goes(once: Config) -> None:
    """A vendor that is known honours it, under its own name for it."""
    assert said(explain(once, "POST", "/stripe/v1/charges")) == [
        "happens once for each key | POST may change something",
        "idempotency-key | default",
        "it passes | default",
        "gets it as Idempotency-Key | default",
        "Stripe honours it | default",
    ]


def test_a_vendor_does_not_look_for_a_key_in_any_field(loads: Callable[..., Config]) -> None:
    """It counts nowhere but in its own."""
    api = "{url: https://api.stripe.com, mount: /x, idempotency: {upstream_header: X-Sent}}"
    lines = said(explain(loads(f"version: 1\napis: {{x: {api}}}\n"), "POST", "/x/v1/charges"))
    assert lines[3:] == ["gets it as X-Sent | :2", "Stripe does not look for it there | default"]


def test_a_vendor_may_honour_keys_on_some_calls_only(once: Config) -> None:
    """Which are those of its documentation; its own name for the key will do, too."""
    orders, other = (said(explain(once, "POST", f"/paypal{path}")) for path in ("/v2/checkout/orders?a=b", "/v1/other"))
    assert orders[1:] == [
        "x-key or paypal-request-id | :5",
        "it is refused (400) | :5",
        "gets it as PayPal-Request-Id | default",
        "PayPal honours it | default",
    ]
    assert other[4] == "PayPal does not honour it on this call | default"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (
            "/x/",
            [
                "happens once for each key | DELETE may change something",
                "idempotency-key | default",
                "one is made of path, body within header:x-run | :9",
                "is sent no key but the agent's | default",
                "it is not known to be honoured | default",
            ],
        ),
        (
            "/x/says",
            [
                "would happen once for each key | DELETE may change something",
                "idempotency-key | default",
                "it passes | default",
                "gets it as Idempotency-Key | default",
                "it is honoured, as you say | :11",
            ],
        ),
    ],
)
def test_what_nobody_knows_is_what_the_operator_says(path: str, lines: list[str], once: Config) -> None:
    """Or else it is not known, and a lost answer leaves it open what became of the call."""
    assert said(explain(once, "DELETE", path)) == lines


def test_a_key_goes_where_the_operator_says(once: Config) -> None:
    """Or nowhere."""
    assert said(explain(once, "PUT", "/x/named"))[3:] == ["gets it as X-Once | :12", "it is honoured, as you say | :12"]
    ignored = ["is sent no key but the agent's | default", "it is ignored, as you say | :13"]
    assert said(explain(once, "PUT", "/x/ignores"))[3:] == ignored


def test_what_is_safe_passes_the_ledger(once: Config) -> None:
    """And nothing is said where there is none."""
    assert said(explain(once, "GET", "/x/")) == ["passes | GET is safe"]
    assert said(explain(once, "POST", "/x/without")) == []


OUT = """\
version: 1
upstream_proxy: http://user:s3cret@proxy:3128
apis:
  x:
    url: https://x.example
    mount: /x
    credentials: {Authorization: {value: Bearer s3cret, placeholder: bs_x_key}, "query:k": {value: s3cret}}
  y: {url: https://y.example, mount: /y, upstream_proxy: off}
"""


def test_shows_what_is_set_on_a_call_and_the_way_out(loads: Callable[..., Config]) -> None:
    """The secrets masked, the placeholder not; the proxy of all where an api has none of its own."""
    config = loads(OUT)
    found = rows(explain(config, "GET", "/x/"))
    assert ["Authorization", "****", ":7"] in found
    assert ["instead", "of", "bs_x_key", ":7"] in found
    assert ["query:k", "****", ":7"] in found
    assert ["upstream_proxy", "http://****@proxy:3128", ":2"] in found
    other = rows(explain(config, "GET", "/y/"))
    assert ["credentials", "none", "default"] in other
    assert ["upstream_proxy", "off", ":8"] in other
    assert "s3cret" not in explain(config, "GET", "/x/")
