"""What agents are given to trust, in the two forms of those that read no PEM file by a variable: Java and wget.

Called by trust.py. ``cryptography`` is imported here, and only where something is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final

JAVA: Final = "ca-bundle.p12"
WGET: Final = "wgetrc"


def wgetrc(bundle: Path) -> bytes:
    """For SYSTEM_WGETRC: wget that is built on GnuTLS, as Debian's is, reads no other variable."""
    return f"ca_certificate = {bundle}\n".encode()


def truststore(roots: Iterable[bytes]) -> bytes:
    """For javax.net.ssl.trustStore: PKCS #12 without a password, which Java reads from 8u301, 11.0.12 and 17 on.

    It is not the same each time. A root that cannot be put there is left out.
    """
    from cryptography.hazmat.primitives.serialization import NoEncryption
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
    from cryptography.x509 import load_pem_x509_certificate

    held = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the system's roots are older than the rules for serial numbers
        for number, root in enumerate(roots):
            try:
                held.append(PKCS12Certificate(load_pem_x509_certificate(root), b"%d" % number))
            except ValueError:
                continue
    return serialize_java_truststore(held, NoEncryption())
