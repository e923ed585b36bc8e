"""The signature on the code that Flower ships, in the form that a SuperNode verifies.

It is Ed25519 over eight bytes of time (seconds since 1970, most significant first) and the SHA-256 of the bundle.
Nothing else that the consortium's key signs begins with zero bytes, so that none can be taken for the other.
"""

from __future__ import annotations

import base64
import binascii
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from common.errors import StudyError
from common.identity.signing import SignatureError, SigningKey, VerifyKey

SIGNER = "gliofed-consortium"
"""Under which name a bundle's signature travels, and under which a site pins its consortium's key."""


def sign_bundle(key: SigningKey, sha256: str, signed_at: int) -> str:
    """Return the signature over a bundle's digest, URL-safe base64. Raises StudyError where `key` is not Ed25519."""
    if not isinstance(key.private, Ed25519PrivateKey):
        raise StudyError("the bundle must be signed with an Ed25519 key, the only kind that Flower verifies")
    return base64.urlsafe_b64encode(key.private.sign(_message(sha256, signed_at))).decode()


def verify_bundle(pinned: VerifyKey, sha256: str, signed_at: int, signature: str) -> None:
    """Raise SignatureError where `signature` is not the pinned key's over this bundle and time."""
    key = load_pem_public_key(pinned.pem.encode())
    try:
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError
        key.verify(base64.urlsafe_b64decode(signature), _message(sha256, signed_at))
    except (InvalidSignature, ValueError, binascii.Error, OverflowError):
        raise SignatureError(
            f"the bundle {sha256[:12]} is not signed by the key {pinned.fingerprint}; sign it again with "
            "`gliofed-server bundle`"
        ) from None


def trusted_entities(pinned: VerifyKey) -> bytes:
    """Return the file for `flower-supernode --trusted-entities`: this key's signature, or no code (JSON is YAML).

    Raises:
        StudyError: where the key is of a kind that Flower does not verify.
    """
    if not pinned.openssh.startswith("ssh-ed25519 "):
        raise StudyError("the consortium's signing key is not Ed25519, the only kind that Flower verifies")
    return (json.dumps({SIGNER: pinned.openssh}) + "\n").encode()


def _message(sha256: str, signed_at: int) -> bytes:
    return signed_at.to_bytes(8, "big") + bytes.fromhex(sha256)
