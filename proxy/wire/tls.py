"""TLS contexts for connections that we make. Used by runtime.py and unlisted.py, and for a cluster's API server.

They are the same with every Python: 3.13 has other defaults than those before it, and what is trusted should not change
with the image.
"""

from __future__ import annotations

import ssl

import certifi


def client_context(
    *, ca_file: str | None = None, client_cert: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """A context that verifies the other side's chain, name and dates, always.

    Trusts ``ca_file`` if given (PEM), else the system's roots, else certifi's where the system has none
    (slim images). ``client_cert`` and ``client_key`` (PEM) are for mutual TLS.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: a file holds no usable certificate or key.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None and not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(cafile=certifi.where())
    # From 3.13 on, Python asks for RFC 5280 to the letter. Authorities of companies, and of clusters such as EKS, are
    # often without its key identifiers, which help to find a chain and prove nothing.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as 3.13 does: an intermediate that is given is enough
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if client_cert is not None:
        context.load_cert_chain(client_cert, client_key)
    return context
