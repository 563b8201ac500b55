"""Certificates and keys that apis name: read at check, so that none turns out to be useless at the first call.

Called by ``load.py``. Only whether OpenSSL takes a file is said, never what is in it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from proxy.config.document import Mapping, display
from proxy.config.problems import Problems
from proxy.config.schema import Api, Document
from proxy.config.upstreams import Tls
from proxy.config.validate import find

_KEYS = ("ca_file", "client_cert", "client_key")


def check_files(document: Document, root: Mapping, problems: Problems) -> list[Path]:
    """Every file that ``tls`` of an api names; what is wrong with one goes to ``problems``."""
    files: list[Path] = []
    for name, api in document.apis.items():
        files += [Path(value) for key in _KEYS if (value := getattr(api.tls, key)) is not None]
        for key, message, remedy in _mistakes(api):
            place = find(root, ("apis", name, "tls", key))
            problems.add(place.node.mark, place.path, f"{display(place.node)} {message}", remedy)
    return files


def _mistakes(api: Api) -> Iterator[tuple[str, str, str]]:
    """Which key, what is wrong with its file, and what to do."""
    missing = [key for key in _KEYS if (value := getattr(api.tls, key)) is not None and not os.access(value, os.R_OK)]
    for key in missing:
        yield key, "cannot be read", "mount it there, or correct the path"
    if not missing:
        yield from _unusable(api.tls)


def _unusable(tls: Tls) -> Iterator[tuple[str, str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except OSError:  # of which SSLError is one
            yield "ca_file", "holds no certificate", "give a file in PEM: -----BEGIN CERTIFICATE-----"
    if tls.client_cert is not None:
        try:
            context.load_cert_chain(tls.client_cert, tls.client_key, password=_no_password)
        except OSError:
            key = "client_cert" if tls.client_key is None else "client_key"
            message = "does not make a client certificate with its private key"
            yield key, message, "give a certificate in PEM and the key that belongs to it, without a passphrase"


def _no_password() -> str:
    """Without it, OpenSSL would ask the terminal for the passphrase of an encrypted key."""
    return ""
