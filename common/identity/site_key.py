"""A site's key: EC P-384, with which its SuperNode proves who it is and with which it signs; born at the site."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from common.errors import StudyError
from common.files import PRIVATE, write_whole
from common.identity.signing import SigningKey, VerifyKey


def create_site_key(path: Path) -> VerifyKey:
    """Make a key at `path`, for its owner alone, and `.pub` beside it, as OpenSSH writes them; return its public half.

    Raises:
        StudyError: where a file is there already; a key is never overwritten.
    """
    if path.exists():
        raise StudyError(
            f"{path}: a key is there already and is never overwritten; go on with it, or choose a new folder"
        )
    private = generate_private_key(SECP384R1())
    public = VerifyKey(private.public_key())
    write_whole(path, private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), PRIVATE)
    write_whole(path.with_suffix(".pub"), f"{public.openssh}\n".encode())
    return public


def load_site_key(path: Path) -> SigningKey:
    """Read a site's key. Raises StudyError where it is missing, or none of EC P-384."""
    key = SigningKey.load(path)
    if not isinstance(key.private, EllipticCurvePrivateKey):
        raise StudyError(f"{path}: a site's key must be of EC P-384, the kind that Flower takes of a node")
    return key
