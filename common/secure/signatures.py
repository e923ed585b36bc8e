"""Signatures by the long-lived keys that a roster pins: EC P-384 with SHA-384, or Ed25519."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from common.errors import StudyError

OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
"""How the file of a key begins that Flower takes for a node."""
SigningKey = EllipticCurvePrivateKey | Ed25519PrivateKey


def load_signing_key(path: Path) -> SigningKey:
    """Read a private key from an unencrypted file, PEM or OpenSSH's own. Raises StudyError where there is none."""
    try:
        blob = path.read_bytes()
        read = load_ssh_private_key if blob.startswith(OPENSSH) else load_pem_private_key
        key = read(blob, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StudyError(f"{path}: no readable private key ({type(error).__name__}); give an unencrypted PEM") from None
    if isinstance(key, Ed25519PrivateKey) or (
        isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)
    ):
        return key
    raise StudyError(f"{path}: the key must be of EC P-384 or Ed25519")


def sign(key: SigningKey, data: bytes) -> bytes:
    """Return the signature of `data`."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ECDSA(SHA384()))


def verifies(pinned_pem: str | None, signature: bytes, data: bytes) -> bool:
    """Say whether `signature` over `data` is by the owner of the pinned public key; without a key nothing is."""
    if pinned_pem is None:
        return False
    key = load_pem_public_key(pinned_pem.encode())
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, data, ECDSA(SHA384()))
        else:
            return False
    except InvalidSignature:
        return False
    return True
