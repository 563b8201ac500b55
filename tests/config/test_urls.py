"""Urls, hosts and mounts: what they read as, what is said about them, and what of them is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import parse_url

from proxy.config.units import UnitError
from proxy.config.urls import (
    masked,
    masked_proxy,
    masked_redis,
    read_host,
    read_ledger,
    read_mount,
    read_redis,
    read_url,
    write_ledger,
)


def said(read: Callable[[object], object], value: object) -> str:
    with pytest.raises(UnitError) as caught:
        read(value)
    return f"{caught.value.expected}; {caught.value.hint or caught.value.remedy}"


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("https://api.stripe.com", "api.stripe.com", None, ""),
        ("HTTP://API.x/v1/", "api.x", None, "/v1/"),
        ("http://[::1]:8080/a%20b", "::1", 8080, "/a%20b"),
        ("http://my_service:65535", "my_service", 65535, ""),
    ],
)
def test_reads_urls(text: str, host: str, port: int | None, path: str) -> None:
    """Scheme, host, port and path of an upstream."""
    url = read_url(text)
    assert (url.hostname, url.port, url.path) == (host, port, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api.stripe.com", "a url with http or https"),
        ("ftp://x", "a url with http or https"),
        ("https://", "a url with http or https"),
        ("https://u:p@x", "a url without credentials"),
        ("https://x?a=1", "a url without query and fragment"),
        ("https://x#a", "a url without query and fragment"),
        ("https://x:99999", "a url; check its host and port"),
        ("https://x:0", "a url; check its host and port"),
        ("https://x:", "a url; check its host and port"),
        ("https://x:http", "a url; check its host and port"),
        ("https://[::1", "a url; check its host and port"),
        ("https://a,b", "a url; check its host and port"),
        ("https://x//y", "a url with a plain path"),
        ("https://x/../y", "a url with a plain path"),
        ('https://x/"', "a url with a plain path"),
        ("https://x y", "a url; write https://host"),
        ("https:\\\\x", "a url; write https://host"),
        ("https://bücher.example", "a url; write https://host"),
        (None, "a url; write https://host"),
    ],
)
def test_refuses_urls(text: object, message: str) -> None:
    """What a request cannot be sent to by itself, or what would end in a log."""
    assert said(read_url, text).startswith(message)


def test_hosts_and_mounts_have_one_form() -> None:
    """A host is lower-cased, a mount has no slash at its end."""
    assert read_host("API.Internal") == "api.internal"
    assert read_mount("/a/b") == "/a/b"
    assert said(read_host, "x:80") == "a host name; write the name without scheme and port"
    assert said(read_mount, "a/") == "a mount; write /a"


# --- Redis ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "database", "password"),
    [
        ("redis://127.0.0.1", "127.0.0.1", None, None),
        ("redis://127.0.0.1:6379/0", "127.0.0.1", 0, None),
        ("redis://[::1]:6379/3", "::1", 3, None),
        ("rediss://user:p%2Fw@redis.internal:6380/", "redis.internal", None, "p/w"),
        ("rediss://h/1?ssl_ca_certs=/etc/ca.pem&ssl_keyfile=/k", "h", 1, None),
        ("unix:///run/redis.sock", None, None, None),
        ("unix://:pw@/run/redis.sock?db=2", None, 2, "pw"),
    ],
)
def test_takes_urls_as_the_client_does(url: str, host: str | None, database: int | None, password: str | None) -> None:
    """It is given to the client as it is written: both have to read the same in it."""
    assert read_redis(url) == url
    read = parse_url(url)
    assert (read.get("host"), read.get("db"), read.get("password")) == (host, database, password)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:6379", "http://h", "sqlite:/x", "redis:h", "redis://h h", "unix://", "", None, 6379]
)
def test_says_what_the_url_of_a_server_looks_like(url: object) -> None:
    """All three forms, so that the right one is among them."""
    assert said(read_redis, url) == (
        "a url of a Redis server; write redis://host:6379/0, rediss:// for TLS, or unix:///run/redis.sock"
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis:///0",
        "redis://h:0",
        "redis://h:",
        "redis://h:99999",
        "redis://h:port",
        "redis://[::1",
        "redis://h/one",
        "redis://h/0/1",
        "redis://h#0",
        "redis://:p/w@h",
        "redis://h?password=pw",
        "redis://h?db=1",
        "redis://h?ssl_ca_certs=/x",
        "rediss://h?ssl_check_hostname=0",
        "rediss://h?socket_timeout=60",
        "unix:///",
        "unix://run/redis.sock",
        "unix:///run/redis.sock?password=pw",
        "unix:///run/redis.sock#x",
    ],
)
def test_refuses_urls_of_servers(url: str) -> None:
    """What the client would read as something else, what would show a password, and limits that are not the url's."""
    assert said(read_redis, url).startswith(
        "a url of a Redis server; check host, port and database; in a password write"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://user:pw@h/0", "redis://****@h/0"),
        ("redis://:p/w@w@h", "redis://****@h"),
        ("redis://:a\nb@h", "redis://****@h"),
        ("redis:/:pw@h", "redis:/****@h"),
        (":pw@h:6379", "****@h:6379"),
        ("redis://h?password=pw", "redis://h?****"),
        ("unix:///s?db=1&password=pw", "unix:///s?****"),
        ("redis://****@h", "redis://****@h"),
    ],
)
def test_a_password_is_masked_in_whatever_form(text: str, shown: str) -> None:
    """A url that is refused is shown with the refusal: it must not tell more than one that is taken."""
    assert masked_redis(text) == shown


@given(st.text(alphabet="s3cr@/:?#\\\n", min_size=1, max_size=12))
def test_no_password_is_ever_shown(junk: str) -> None:
    """Whatever it is made of, as long as it stands where a password stands."""
    assert "S3CRET" not in masked_redis(f"redis://{junk}S3CRET{junk}@h/0")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://u:p@proxy:3128/", "http://****@proxy:3128/"),
        ("http://u:p/w@s@proxy:3128", "http://****@proxy:3128"),
        ("http:/u:p@proxy:3128", "http:/****@proxy:3128"),
        ("socks5://u:p@proxy", "socks5://****@proxy"),
        ("u:p@proxy:3128", "****@proxy:3128"),
        ("ftp://u:p@proxy", "****@proxy"),
        ("off", "off"),
    ],
)
def test_the_user_of_a_proxy_is_masked_like_its_password(text: str, shown: str) -> None:
    """Some proxies take a token for the user."""
    assert masked_proxy(text) == shown


@given(st.text(alphabet="s3cr@/:?#\\\n", min_size=1, max_size=12))
def test_no_password_of_a_proxy_is_ever_shown(junk: str) -> None:
    """Whatever it is made of."""
    assert "S3CRET" not in masked_proxy(f"http://u:{junk}S3CRET{junk}@h:1")


# --- the ledger -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ledger.db", "/var/lib/backstay/ledger.db", "/with blanks/and:colons/..data/l"])
def test_reads_the_path_of_a_ledger(path: str) -> None:
    """An absolute one; it is written as it was read."""
    assert read_ledger(f"sqlite:{path}") == path
    assert write_ledger(path) == f"sqlite:{path}"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("/var/l.db", "write sqlite:/var/l.db"),
        ("sqlite:///var/l.db", "write sqlite:/var/l.db"),
        ("sqlite:////var/l.db", "write sqlite:/var/l.db"),
        *(
            (text, "write sqlite: and an absolute path: sqlite:/var/lib/backstay/ledger.db")
            for text in (
                "sqlite:ledger.db", "sqlite:./ledger.db", "sqlite://ledger.db", "sqlite:/", "sqlite:/var/", "sqlite:",
                "sqlite::memory:", "sqlite:/var//l.db", "sqlite:/l.db?mode=ro", "sqlite:/l.db#1", "sqlite:/l\n.db",
                "sqlite3:/l.db", "file:/l.db", "postgres://h/db", "redis://h", "", None, 7, True,
            )
        ),
    ],
)  # fmt: skip
def test_says_what_the_file_of_a_ledger_looks_like(text: object, remedy: str) -> None:
    """Where it is has to be certain: a path that depends on where the program was started would be another ledger."""
    assert said(read_ledger, text) == f"the file of a ledger; {remedy}"


def test_a_url_within_a_text_is_masked() -> None:
    """User and password of any url, wherever it stands."""
    assert masked("see http://u:p@h/x, and https://h/a@b") == "see http://****@h/x, and https://h/a@b"
