"""The certificate that the webhook shows, renewed while it runs. Called by injector.py.

``tls.crt`` and ``tls.key`` are a Secret's, whose volume Kubernetes swaps as a whole when cert-manager (or whoever makes
them) renews it. A pair that is read between two states, or is bad, changes nothing: the one before stays.
"""

from __future__ import annotations

import errno
import ssl
from pathlib import Path
from typing import Any, Final

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"


def files(folder: Path) -> tuple[Path, Path]:
    """What to watch."""
    return folder / CERTIFICATE, folder / KEY


class BadCertificate(OSError):
    """What is wrong with a pair, and what to do; its filename is the folder."""


class Certificate:
    """The newest good pair of a folder. ``context`` is for a server, and shows it to each new connection."""

    def __init__(self, folder: Path) -> None:
        """Raises BadCertificate."""
        self._folder = folder
        self.context = _context()
        self.context.sni_callback = self._show
        self._newest, self.not_after = _load(folder)

    def renew(self) -> None:
        """Show what is in the folder now. Raises BadCertificate; then the pair before is still shown."""
        self._newest, self.not_after = _load(self._folder)

    def _show(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def __repr__(self) -> str:
        return f"<Certificate in {self._folder}, until {self.not_after:.0f}>"


def _load(folder: Path) -> tuple[ssl.SSLContext, float]:
    """A context of its own for each pair: one that half a pair was loaded into is of no use."""
    from cryptography import x509

    context = _context()
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=_no_password)
        chain = x509.load_pem_x509_certificates((folder / CERTIFICATE).read_bytes())
    except ssl.SSLError as error:
        what = (
            "the key does not belong to the certificate" if "MISMATCH" in str(error) else "no certificate with its key"
        )
        raise _bad(folder, f"{what} ({error.reason or error})") from None
    except OSError as error:
        raise _bad(folder, f"{error.strerror}: {error.filename or f'{CERTIFICATE} or {KEY}'}") from None
    except ValueError as error:
        raise _bad(folder, str(error)) from None
    return context, chain[0].not_valid_after_utc.timestamp()


def _bad(folder: Path, what: str) -> BadCertificate:
    remedy = f"put a certificate for the webhook's Service into {CERTIFICATE}, and its key into {KEY}, both PEM"
    return BadCertificate(errno.EINVAL, f"{what}; {remedy}", str(folder))


def _no_password() -> str:
    """Else OpenSSL would ask on a terminal."""
    raise ValueError(f"{KEY} has a password, and there is nobody to ask")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # a connection that is resumed would show nothing
    return context
