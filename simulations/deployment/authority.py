"""A certificate authority of a deployment's own: issues the SuperLink's certificate, for as long as one asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.files import write_whole

HOST = "127.0.0.1"
A_DAY = timedelta(days=1)
SKEW = timedelta(minutes=1)
"""How far in the past a certificate begins, for clocks that are slow."""


class Authority:
    """Issues certificates for the loopback address; its own certificate is `folder/ca.crt`, its key stays in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("GlioFed deployment on loopback")
        certificate = (
            _begin(name, name, self._key.public_key(), A_DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._issuer = name
        write_whole(self.root, certificate.public_bytes(Encoding.PEM))

    @property
    def root(self) -> Path:
        """File of the authority's certificate, which all parties trust."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """File of the server's certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """File of the server's private key."""
        return self.folder / "server.key"

    def issue(self, valid_for: timedelta = A_DAY) -> None:
        """Write a new key and certificate of the server, valid for `valid_for` from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")])
        certificate = (
            _begin(_name("localhost"), self._issuer, key.public_key(), valid_for)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_whole(self.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.key.chmod(0o600)
        write_whole(self.certificate, certificate.public_bytes(Encoding.PEM))


def write_node_key(private: Path) -> Path:
    """Write a SuperNode's key pair as OpenSSH files (P-384, the kind that Flower takes); return the public one."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_whole(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    private.chmod(0o600)
    public = private.with_suffix(".pub")
    write_whole(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return public


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid_for: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + valid_for)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


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
