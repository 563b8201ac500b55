"""Tests of the authority: made or taken, what is wrong with it is said, and what it signs pleases strict clients."""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxy.wire.ca import LIFE, Authority, AuthorityError
from tests.support.authority import DAY, NOW, Made, handshake, key_pem, made, put, strict

NAMES = [
    "api.example.com",
    "localhost",
    "my_service.internal",
    "x" * 63 + "." + "y" * 63 + ".example",
    "10.0.0.7",
    "::1",
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load(tmp_path / "ca", time.time())


def server(authority: Authority, name: str, tmp_path: Path, wall: float | None = None) -> ssl.SSLContext:
    path = tmp_path / "leaf.pem"
    path.write_bytes(authority.leaf_key + authority.issue(name, time.time() if wall is None else wall))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def leaf(authority: Authority, name: str, wall: float) -> x509.Certificate:
    return x509.load_pem_x509_certificates(authority.issue(name, wall))[0]


# --- the authority ------------------------------------------------------------------------------------------


def test_one_is_made_and_found_again(tmp_path: Path) -> None:
    """Its key lasts, its name tells it from others, and it holds for five years from a day before."""
    first, again = (Authority.load(tmp_path / "ca", NOW + day * DAY) for day in (0, 1000))
    other = Authority.load(tmp_path / "other", NOW)
    assert (again.fingerprint, again.pem) == (first.fingerprint, first.pem)
    assert first.pem == (tmp_path / "ca" / "ca.crt").read_bytes()
    assert (first.not_before, first.not_after) == (NOW - DAY, NOW + LIFE)
    assert first.name.startswith("CN=Backstay interception CA ")
    assert first.name != other.name
    assert repr(first) == f"<Authority {first.name} {first.fingerprint[:16]}>"


def test_what_a_generated_one_may_do(authority: Authority) -> None:
    """It signs servers' certificates, and no other authorities: a stolen key signs neither code nor clients."""
    extensions = x509.load_pem_x509_certificate(authority.pem).extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.value, basic.critical) == (x509.BasicConstraints(ca=True, path_length=0), True)
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
    assert usage.critical
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_a_given_one(tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """ECDSA and RSA will do, without the extensions that a careful authority has."""
    given = made("Corporate CA", key=key, since=time.time() - DAY, until=time.time() + DAY)
    authority = Authority.load(put(tmp_path / "ca", given.pem, given.key_pem, "tls"), time.time())
    client = strict(given.pem)
    client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    assert handshake(client, server(authority, "api.example.com", tmp_path), "api.example.com").version() == "TLSv1.3"


def test_an_intermediate_one(tmp_path: Path) -> None:
    """What leads from it to the root goes with every leaf, and agents are told of all of them."""
    current = partial(made, since=time.time() - DAY, until=time.time() + DAY)
    root = current("Root")
    between = current("Between", issuer=root, usage=True)
    given = current("Issuing", issuer=between, usage=True)
    directory = put(tmp_path / "ca", given.pem + between.pem, given.key_pem, "tls")
    (directory / "ca.crt").write_bytes(root.pem + given.pem)
    authority = Authority.load(directory, time.time())
    assert authority.issue("a.example", time.time()).endswith(given.pem + between.pem)
    client = strict(root.pem)
    client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    handshake(client, server(authority, "a.example", tmp_path), "a.example")
    authority.publish(tmp_path / "trust")
    assert (tmp_path / "trust" / "ca.crt").read_bytes() == given.pem + between.pem + root.pem


def test_the_next_authority_is_trusted_before_it_signs(tmp_path: Path) -> None:
    """A certificate behind the first in ca.crt is published, and not sent: so authorities are changed without a gap."""
    old, new = made("Old"), made("New")
    authority = Authority.load(put(tmp_path / "ca", old.pem + new.pem, old.key_pem), NOW)
    authority.publish(tmp_path / "trust")
    assert (tmp_path / "trust" / "ca.crt").read_bytes() == old.pem + new.pem
    assert authority.issue("a.example", NOW).count(b"BEGIN CERTIFICATE") == 1


def test_a_new_authority_by_the_page(tmp_path: Path) -> None:
    """In each step of docs/tls-interception.md, agents trust that were started then or, up to step 3, before."""
    page = (Path(__file__).parents[2] / "docs" / "tls-interception.md").read_text(encoding="utf-8")
    page = page[page.index("## A new authority, without a gap") :]
    make = page[page.index("openssl req") :].split("```")[0]
    two, four, five = re.findall(r"`([^`]*cat next.crt[^`]*)`", page)
    agents: list[ssl.SSLContext] = []

    def step(command: str) -> Authority:
        subprocess.run(command, shell=True, cwd=tmp_path / "ca", check=True, capture_output=True, timeout=30)
        authority = Authority.load(tmp_path / "ca", time.time())
        authority.publish(tmp_path / "trust")
        agents.append(strict(tmp_path / "trust" / "ca.crt"))
        for agent in agents:
            handshake(agent, server(authority, "api.example.com", tmp_path), "api.example.com")
        return authority

    old = Authority.load(tmp_path / "ca", time.time())
    assert [step(command).pem for command in ("true", make, two)] == [old.pem] * 3
    del agents[:-1]
    new = step(four)
    assert step(five).pem == new.pem != old.pem
    assert (tmp_path / "trust" / "ca.crt").read_bytes() == new.pem


def test_agents_never_get_the_key(tmp_path: Path) -> None:
    """Not even if an operator has put it into ca.crt as well: only certificates are read from there."""
    given = made()
    Authority.load(put(tmp_path / "given", given.key_pem + given.pem, given.key_pem), NOW).publish(tmp_path / "trust")
    Authority.load(tmp_path / "made", NOW).publish(tmp_path / "trust2")
    for directory, trust in (("given", "trust"), ("made", "trust2")):
        key = (tmp_path / directory / "ca.key").read_bytes().split(b"-----")[2].split()
        published = b"".join(path.read_bytes() for path in (tmp_path / trust).iterdir())
        assert key
        assert not [line for line in key if line in published]
        assert b"PRIVATE" not in published


# --- what is wrong with one ---------------------------------------------------------------------------------


def encrypted(given: Made) -> bytes:
    return key_pem(given.key, b"secret")


EDWARDS = ed25519.Ed25519PrivateKey.generate()
WRONG: list[tuple[str, Made, Callable[[Made], bytes], Callable[[Made], bytes], str]] = [
    ("no key", made(), lambda _: b"nonsense", lambda ca: ca.pem, "ca.key: holds no private key"),
    ("an encrypted key", made(), encrypted, lambda ca: ca.pem, "ca.key: the key is encrypted"),
    ("a rare key", made(key=EDWARDS), lambda ca: ca.key_pem, lambda ca: ca.pem, "ca.key: a key of ECDSA or RSA"),
    ("no certificate", made(), lambda ca: ca.key_pem, lambda _: b" \n", "ca.crt: holds no certificate"),
    ("a bad one", made(), lambda ca: ca.key_pem, lambda _: b"nonsense", "ca.crt: holds no certificate"),
    ("another's", made(), lambda ca: ca.key_pem, lambda _: made().pem, "ca.crt: its first certificate is not that of"),
    ("a host's", made(ca=False), lambda ca: ca.key_pem, lambda ca: ca.pem, "ca.crt: not a CA's certificate"),
    ("anybody's", made(ca=None), lambda ca: ca.key_pem, lambda ca: ca.pem, "ca.crt: not a CA's certificate"),
    ("no signer", made(usage=False), lambda ca: ca.key_pem, lambda ca: ca.pem, "ca.crt: not a CA's certificate"),
]


@pytest.mark.parametrize(
    ("given", "key", "certificate", "why"), [case[1:] for case in WRONG], ids=[w[0] for w in WRONG]
)
def test_no_authority(
    tmp_path: Path, given: Made, key: Callable[[Made], bytes], certificate: Callable[[Made], bytes], why: str
) -> None:
    """The error names the file and says what is wrong with it, and never shows what is in it."""
    with pytest.raises(AuthorityError) as caught:
        Authority.load(put(tmp_path / "ca", certificate(given), key(given)), NOW)
    error = caught.value
    assert f"{Path(error.filename).name}: {error.strerror}".startswith(why)
    assert error.errno == errno.EINVAL


@pytest.mark.parametrize("wall", [NOW - 2 * DAY, NOW + 365 * DAY])
def test_out_of_date(tmp_path: Path, wall: float) -> None:
    """It cannot be used, and is not replaced unasked: agents hold what the old one was."""
    given = made()
    directory = put(tmp_path / "ca", given.pem, given.key_pem)
    with pytest.raises(AuthorityError, match="valid from 2023-11-13 to 2024-11-13 alone: put another there"):
        Authority.load(directory, wall)


def test_the_end_is_near(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From thirty days before it, each start says so."""
    Authority.load(tmp_path, NOW)
    Authority.load(tmp_path, NOW + LIFE - 31 * DAY)
    assert not caplog.records
    Authority.load(tmp_path, NOW + LIFE - 29.5 * DAY)
    assert "expires soon" in caplog.text
    assert vars(caplog.records[0])["days"] == 29


def test_a_secret_that_is_renewed_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old certificate beside the new key is no reason to fail: both are read once more."""
    old, new = made("Old"), made("New")
    put(tmp_path / "old", old.pem, old.key_pem)
    put(tmp_path / "new", new.pem, new.key_pem)
    (tmp_path / "mounted").symlink_to("old")
    (tmp_path / "next").symlink_to("new")
    real = Path.open

    def open_(path: Path, mode: str) -> object:
        file = real(path, mode)
        if path.name == "ca.crt" and (tmp_path / "next").exists():
            (tmp_path / "next").rename(tmp_path / "mounted")  # the old certificate is open, the key is the new one
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        authority = Authority.load(tmp_path / "mounted", NOW)
    assert authority.pem == new.pem


# --- leaves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_client(authority: Authority, tmp_path: Path, name: str) -> None:
    """What is signed for a name or an address is good for it, by RFC 5280 to the letter, and for no other."""
    client = strict(authority.pem)
    context = server(authority, name, tmp_path)
    assert handshake(client, context, name).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(client, context, "other.example.com")
    with pytest.raises(ssl.SSLCertVerificationError, match="local issuer"):
        handshake(strict(made().pem), context, name)


def test_openssl_is_content(authority: Authority, tmp_path: Path) -> None:
    """The program of that name finds nothing to say against CA and leaves, either."""
    authority.publish(tmp_path / "trust")
    files = [tmp_path / f"{number}.pem" for number in range(len(NAMES))]
    for file, name in zip(files, NAMES, strict=True):
        file.write_bytes(authority.issue(name, time.time()))
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(tmp_path / "trust" / "ca-bundle.crt")]
    command = [*verify, "-purpose", "sslserver", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.count(": OK") == len(NAMES), done.stderr
    command = [*verify, "-purpose", "sslclient", str(files[0])]
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0


def test_how_long_a_leaf_holds(tmp_path: Path) -> None:
    """A week from a day before, to be good for clocks that are late; and never longer than the authority."""
    authority = Authority.load(tmp_path, NOW)
    found = leaf(authority, "a.example", NOW + 2 * DAY)
    assert (found.not_valid_before_utc, found.not_valid_after_utc) == (utc(NOW + DAY), utc(NOW + 9 * DAY))
    assert leaf(authority, "a.example", NOW).not_valid_before_utc == utc(authority.not_before)
    assert leaf(authority, "a.example", NOW + LIFE - DAY).not_valid_after_utc == utc(authority.not_after)
    with pytest.raises(ValueError, match="expired"):
        authority.issue("a.example", NOW + LIFE)


def utc(wall: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall, dt.UTC)


def test_leaves_differ(tmp_path: Path) -> None:
    """Serial numbers do, even for one name: some clients refuse what they have seen with other content."""
    authority = Authority.load(tmp_path, NOW)
    one, other = leaf(authority, "a.example", NOW), leaf(authority, "a.example", NOW)
    assert one.serial_number != other.serial_number
    assert one.public_key() == other.public_key()


BAD = [
    "",
    ".",
    "a..b",
    "a.example.",
    "*.example",
    "A.example",
    "ä.example",
    "a b",
    "a\x00b",
    "a/b",
    "a:443",
    "1.2.3",
    "256.1.1.1",
]


@pytest.mark.parametrize("name", [*BAD, "a" * 64 + ".example", ".".join(["a" * 50] * 5)])
def test_what_is_no_name(name: str) -> None:
    """Nothing is signed that no client would have asked for: wildcards above all."""
    with pytest.raises(ValueError, match="is no name of a host"):
        ISSUER.issue(name, NOW)


_ONE = made()
ISSUER = Authority(_ONE.key, [_ONE.certificate])  # type: ignore[arg-type]


def test_what_intercepts_nothing_pays_nothing() -> None:
    """It takes 9 MB: cryptography is imported with the first authority."""
    code = "import proxy.wire.mint, sys; print([name for name in sys.modules if name.startswith('cryptography')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=os.environ) == "[]\n"
