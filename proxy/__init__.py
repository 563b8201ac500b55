"""Backstay: the sidecar that keeps AI agents standing when the APIs they call do not.

The life of a request, and where to read on:

1.  The agent connects; ``wire/listener.py`` counts the connection, ``wire/server.py`` owns it. One that was caught
    (CONNECT, redirected) is looked at by ``wire/capture.py`` first, and becomes one of these, or a ``wire/relay.py``.
2.  ``wire/head.py`` and ``wire/framing.py`` parse the request, or refuse what is ambiguous.
3.  ``runtime.py`` asks ``core/routing.py`` whose it is, and gets the chain that was linked for its route.
4.  ``policies/observe.py`` starts its clock: every request ends in one outcome, one sample, one log line.
5.  ``policies/fallback.py`` waits for what may go wrong; ``policies/cache.py`` answers what is stored (``stores/``),
    and shares one call among identical reads (``flight.py``, ``fetch.py``).
6.  ``policies/attempts.py`` turns the exchange into attempts, each with one verdict (``core/classify.py``).
7.  ``policies/breaker.py`` asks the circuit, ``policies/ratelimit.py`` takes a token,
    ``policies/timeouts.py`` sets the timer. The rules are in ``core``, under the same names.
8.  ``wire/pool.py`` takes a connection, ``wire/upstream.py`` writes the request and reads the answer.
9.  The answer goes back up the chain at its final headers; its body flows from connection to connection.
10. If there is no answer, an exception goes up instead (``errors.py``), and ``wire/rescue.py`` turns it into
    problem+json that a model can act on.

``app.py`` composes all this from a configuration (``config/``); ``chain.py`` has the order of the policies.
"""

from typing import Final

__version__: Final = "0.1.0"
