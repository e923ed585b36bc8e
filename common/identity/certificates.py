"""Certificates: an authority of the consortium's own, and the server's certificate that it issues."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import StudyError
from common.files import PRIVATE, read_at_most, write_whole

A_DAY = timedelta(days=1)
AUTHORITY_DAYS, SERVER_DAYS = 3653, 397
SKEW = timedelta(minutes=1)
"""How far in the past a certificate begins, for clocks that are slow."""
MAX_CERTIFICATES = 256 * 1024
"""Bytes of a file of certificates, at most."""
DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Authority:
    """Issues certificates, with a certificate of its own that all parties trust."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str, valid_for: timedelta = AUTHORITY_DAYS * A_DAY) -> Self:
        """Return a new authority."""
        key = generate_private_key(SECP384R1())
        subject = _name(name)
        certificate = (
            _begin(subject, subject, key.public_key(), valid_for)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA384())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read an authority. Raises StudyError where its files are missing or do not belong together."""
        held = load_certificates(certificate)[0]
        try:
            private = load_pem_private_key(read_at_most(key, MAX_CERTIFICATES), password=None)
        except (ValueError, TypeError):
            raise StudyError(f"{key}: no readable private key; give the authority's, an unencrypted PEM") from None
        if not isinstance(private, EllipticCurvePrivateKey) or private.public_key() != held.public_key():
            raise StudyError(f"{key}: is not the key of {certificate}; put the two that belong together back")
        return cls(held, private)

    def save(self, certificate: Path, key: Path) -> None:
        """Write the authority's two files, the key for its owner alone."""
        write_whole(key, _pem(self.key), PRIVATE)
        write_whole(certificate, self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self, hosts: tuple[str, ...], certificate: Path, key: Path, valid_for: timedelta = SERVER_DAYS * A_DAY
    ) -> None:
        """Write a new key and a certificate of the server with these names, valid from now on.

        The authority's own end is also the certificate's. Raises StudyError for a name that is no host's.
        """
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        private = generate_private_key(SECP256R1())
        made = (
            _begin(_name(hosts[0][:64]), self.certificate.subject, private.public_key(), valid_for, self._end)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, SHA384())
        )
        write_whole(key, _pem(private), PRIVATE)
        write_whole(certificate, made.public_bytes(Encoding.PEM))

    @property
    def _end(self) -> datetime:
        return self.certificate.not_valid_after_utc


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Read a file of one or more PEM certificates. Raises StudyError where there is none."""
    try:
        return x509.load_pem_x509_certificates(read_at_most(path, MAX_CERTIFICATES))
    except ValueError:
        raise StudyError(f"{path}: holds no PEM certificate; give a file with -----BEGIN CERTIFICATE-----") from None


def is_issued_by(certificate: x509.Certificate, authorities: Path) -> bool:
    """Say whether one of the authorities in a file issued a certificate itself. Raises StudyError where it has none."""
    for authority in load_certificates(authorities):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False


def issuer_of(certificate: x509.Certificate) -> str:
    """Return the name of the authority that a certificate says it is by, cut short."""
    names = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    said = str(names[0].value) if names else certificate.issuer.rfc4514_string()
    return said[:80] or "an authority without a name"


def days_left(path: Path) -> float:
    """Return the days until the first certificate in the file ends, below zero where one has ended.

    Raises:
        StudyError: where there is no certificate.
    """
    return min((held.not_valid_after_utc - datetime.now(UTC)) / A_DAY for held in load_certificates(path))


def host_of(text: str) -> str | IPv4Address | IPv6Address:
    """Return a DNS name in lower case, or an address. Raises StudyError for anything else, wildcards too."""
    try:
        return ip_address(text)
    except ValueError:
        if DNS_NAME.fullmatch(text):
            return text
        raise StudyError(
            f"{text[:80]!r} is no host; give a DNS name in lower case or an address, without https:// or a port"
        ) from None


def _general_name(host: str) -> x509.GeneralName:
    known = host_of(host)
    return x509.DNSName(known) if isinstance(known, str) else x509.IPAddress(known)


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    valid_for: timedelta,
    at_most: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid_for) - SKEW)
        .not_valid_after(min(now + valid_for, at_most or now + valid_for))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _usage(signs_certificates: bool) -> x509.KeyUsage:
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
