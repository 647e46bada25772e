"""The certificate of an API that is reached beyond loopback, made and renewed by itself.

Law: an authority of our own signs one short-lived certificate; clients are given the authority's,
which outlasts every renewal. Keys are their owner's alone (0600) and never leave the folder. What
is good is used again: a restart changes nothing that a client could see.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringmaster_operator import errors, statedir

_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 90
_RENEW_DAYS = 30  # before the end: a third of its life, as ACME clients do
_AGREE = dt.timedelta(minutes=5)  # clocks of clients that are behind ours
_LOCAL = ("localhost", "127.0.0.1", "::1")

# A host's name (RFC 1123, with the underscore that compose services have), or a wildcard's.
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})")

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The time by this machine's clock."""
    return dt.datetime.now(tz=dt.UTC)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def text(self) -> str:
        """As PEM, the key first: one file, so that no crash leaves halves that do not match."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return (key + _pem(self.certificate)).decode()


def authority_file(folder: Path) -> Path:
    """Where clients on this machine find the authority's certificate."""
    return folder / statedir.AUTHORITY


class Certificate:
    """The certificate of an API that is known by `names`, kept in `folder`.

    `context` is what to serve with; connections made after a renewal get the newer one.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, clock: Clock = utc_now) -> None:
        """Use what the folder has, make what is missing.

        Raises:
            UsageError: a name is none, or the folder cannot be used; one line.
        """
        self._folder = folder
        self._clock = clock
        self._names = tuple(dict.fromkeys([*_LOCAL, *names]))
        self._alternatives = frozenset(map(_alternative, self._names))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._make()
        self.context.load_cert_chain(self._file)

    def renew(self) -> bool:
        """Make a newer certificate if this one is about to end; whether one was made."""
        if not self._make():
            return False
        self.context.load_cert_chain(self._file)
        return True

    @property
    def _file(self) -> Path:
        return self._folder / "api.pem"

    def _make(self) -> bool:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            authority = _read(self._folder / "ca.pem")
            if authority is None or not self._lasts(authority.certificate, _CERTIFICATE_DAYS):
                authority = _new_authority(self._clock())
                statedir.write_atomically(self._folder / "ca.pem", authority.text())
            public = _pem(authority.certificate).decode()
            if not _says(authority_file(self._folder), public):
                statedir.write_atomically(authority_file(self._folder), public)
            present = _read(self._file)
            if present is not None and self._serves(present.certificate, authority):
                return False
            fresh = _new_certificate(authority, self._names, self._clock())
            statedir.write_atomically(self._file, fresh.text())
        except OSError as error:
            raise errors.UsageError(
                f"the certificate's folder {self._folder} cannot be used: {error.strerror}"
            ) from error
        return True

    def _serves(self, certificate: x509.Certificate, authority: _Pair) -> bool:
        """Whether it is the authority's, for these names, and lasts."""
        try:
            certificate.verify_directly_issued_by(authority.certificate)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except Exception:  # noqa: BLE001 – whatever is wrong with it, a new one is made
            return False
        return frozenset(found.value) == self._alternatives and self._lasts(
            certificate, _RENEW_DAYS
        )

    def _lasts(self, certificate: x509.Certificate, days: int) -> bool:
        now = self._clock()
        left = certificate.not_valid_after_utc - now
        return certificate.not_valid_before_utc <= now and left > dt.timedelta(days=days)


def _alternative(name: str) -> x509.GeneralName:
    """A name or an address as a certificate has it."""
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    if _NAME.fullmatch(name) is None:
        raise errors.UsageError(f"{name!r} is neither a host's name nor an address")
    return x509.DNSName(name)


def _new_authority(now: dt.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringmaster local authority")])
    builder = _builder(name, name, key.public_key(), now=now, days=_AUTHORITY_DAYS)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _new_certificate(authority: _Pair, names: Sequence[str], now: dt.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringmaster-operator")])
    issuer = authority.certificate.subject
    builder = _builder(subject, issuer, key.public_key(), now=now, days=_CERTIFICATE_DAYS)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_alternative, names)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _AGREE)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _read(path: Path) -> _Pair | None:
    """What was kept; a missing or damaged one can be made anew."""
    try:
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, password=None)
        certificate = x509.load_pem_x509_certificate(data)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    return _Pair(certificate, key) if key.public_key() == certificate.public_key() else None


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="ascii") == text
    except (FileNotFoundError, UnicodeDecodeError):
        return False
