"""The keys of an api that are about its upstream, and no policies: TLS, connections, credentials.

Called by ``schema.py``, whose Api they are part of.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from proxy.config import kinds
from proxy.config.keys import Model, needed, setting

_File: TypeAlias = Annotated[str, kinds.PATH] | None


class Tls(Model):
    """TLS to the upstream; its certificate is always verified."""

    ca_file: _File = setting(None, "Certificates to trust, in PEM, instead of the system's.")
    server_name: Annotated[str, kinds.HOST] | None = setting(
        None, "The name to ask for and to verify, if not the url's."
    )
    client_cert: _File = setting(None, "A client certificate, in PEM.")
    client_key: _File = setting(None, "Its private key, in PEM.")


class Connections(Model):
    """The pool of connections to the upstream."""

    max: Annotated[int, kinds.COUNT] = setting(100, "Connections at once; calls beyond wait for one.")
    idle: Annotated[float, kinds.PAUSE] = setting("60s", "How long an unused connection is kept.")


class Credential(Model):
    """A field, or with `query:NAME` a parameter of the query, that Backstay sets on each call of the api.

    It takes the place of what the agent sends under that name. Where the agent sends the placeholder elsewhere in the
    header or in the query, the secret (without `Bearer` or the like) takes its place there. On its way to another host,
    a placeholder is stopped: 403.
    """

    value: Annotated[str, kinds.SECRET] = needed(
        "What is sent, such as `Bearer ${file:/secrets/key}`; never shown, and read again when the file changes."
    )
    placeholder: Annotated[str, kinds.STAND_IN] | None = setting(
        None, "What the agent may hold instead: 8 to 128 letters, digits, `-` and `_`, which are found nowhere else."
    )
