"""Owns how a Redis or Valkey server is connected to: by which urls, and with which limits, whatever a url says.

``redis.py`` and ``ledger_redis.py`` make a pool each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool, RedisSSLContext, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CONNECTIONS: Final = 64  # at once, for calls


def make_pool(url: str, limit: float) -> ConnectionPool:
    """Connections to the server of ``url``, none yet. ``limit``: seconds to connect.

    Raises ValueError if it is none of a server's, and OSError if a file of certificates that it names is of no use.
    """
    ours: dict[str, Any] = {  # a url may not say otherwise
        "max_connections": CONNECTIONS + 4,  # some for what is not a call's: to greet, to close
        "socket_connect_timeout": limit,
        "socket_timeout": None,  # an operation has one limit, which is the link's
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,  # nothing is pushed, and older servers know it
        "driver_info": None,  # two questions fewer on a new connection
    }
    try:
        pool = ConnectionPool(**{**parse_url(url), **ours})
        connection = pool.make_connection()  # type: ignore[no-untyped-call]  # refuses bad settings; connects to nothing
        if isinstance(connection, SSLConnection):
            pool.connection_class = _sharing(connection.ssl_context)  # type: ignore[assignment]  # a function will do
    except OSError as error:
        raise OSError(f"the certificates of the Redis server: {error}") from None
    except (ValueError, TypeError, RedisError):
        raise ValueError("not the url of a Redis server") from None  # what is wrong with it may be its password
    return pool


def _sharing(context: RedisSSLContext) -> Callable[..., SSLConnection]:
    """What makes TLS connections with one context: one for each would stop the loop for 20 ms each."""
    context.get()

    def connection(**settings: Any) -> SSLConnection:
        made = SSLConnection(**settings)
        made.ssl_context = context
        return made

    return connection
