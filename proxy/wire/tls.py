"""TLS contexts for connections to upstreams. Used by app.py, which hands them to pools."""

from __future__ import annotations

import ssl

import certifi


def client_context(
    *, ca_file: str | None = None, client_cert: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """A context that verifies the upstream's chain and name, always.

    Trusts ``ca_file`` if given (PEM), else the system's roots, else certifi's where the system has none
    (slim images). ``client_cert`` and ``client_key`` (PEM) are for mutual TLS.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: a file holds no usable certificate or key.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None and not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if client_cert is not None:
        context.load_cert_chain(client_cert, client_key)
    return context
