"""Signatures on what travels: rosters, kits, study plans, releases, requests.

What is signed is `gliofed signature 1`, a zero byte, the purpose, a zero byte and the content, so that a signature
given for one purpose is worth nothing for another. The consortium signs with Ed25519, a site with its EC P-384 key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from common.errors import PolicyError, StudyError
from common.files import PRIVATE, read_at_most, write_whole
from common.secure.signatures import SigningKey as PrivateKey
from common.secure.signatures import load_signing_key, sign, verifies

PREFIX = b"gliofed signature 1"
MAX_PEM = 2048
"""Characters of a public key's PEM, at most."""
MAX_SIGNATURE = 256
"""Characters of a signature, at most."""


class SignatureError(PolicyError):
    """Something is not signed by the key that was trusted for it."""

    code = "bad-signature"


class Purpose(StrEnum):
    """What a signature is for."""

    ROSTER = "roster"
    KIT = "kit"
    PLAN = "plan"
    RELEASE = "release"
    REQUEST = "request"


class VerifyKey:
    """The public half of a key, with which signatures are verified; two are equal where the keys are."""

    def __init__(self, key: EllipticCurvePublicKey | Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, text: str, origin: str = "public key") -> Self:
        """Read a public key, Ed25519 or EC P-384. Raises StudyError for anything else."""
        try:
            if len(text) > MAX_PEM:
                raise ValueError
            key = load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise StudyError(f"{origin}: is no PEM public key; give the public half, never the private one") from None
        if isinstance(key, Ed25519PublicKey) or (
            isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
        ):
            return cls(key)
        raise StudyError(f"{origin}: the key must be of Ed25519 or EC P-384")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key's PEM file. Raises StudyError where it is missing or another kind."""
        return cls.from_pem(read_at_most(path, MAX_PEM).decode("ascii", "replace"), str(path))

    @property
    def pem(self) -> str:
        """The key as PEM, always the same text for the same key."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def openssh(self) -> str:
        """The key as OpenSSH writes it, one line without a comment."""
        return self._key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and the unpadded base64 of the SHA-256 of the key's DER: what two people read to each other."""
        der = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")

    @property
    def is_site_key(self) -> bool:
        """Whether it is of EC P-384, the kind that Flower takes of a node."""
        return isinstance(self._key, EllipticCurvePublicKey)

    def has_fingerprint(self, said: str) -> bool:
        """Say whether `said`, as a person typed it, is this key's fingerprint; `SHA256:` may be left out."""
        typed = "".join(said.split())
        return hmac.compare_digest(typed.removeprefix("SHA256:").encode(), self.fingerprint[7:].encode())

    def verify(self, purpose: Purpose, blob: bytes, signature: str) -> None:
        """Raise SignatureError where `signature` is not this key's, for this purpose, over `blob`."""
        try:
            if len(signature) > MAX_SIGNATURE:
                raise ValueError
            given = base64.b64decode(signature.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            raise SignatureError(f"the signature of the {purpose} is no signature; ask for it again") from None
        if not verifies(self.pem, given, _message(purpose, blob)):
            raise SignatureError(
                f"the {purpose} is not signed by the key {self.fingerprint}, or was changed since; do not use it, "
                "and ask the one who sent it"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.pem == other.pem

    def __hash__(self) -> int:
        return hash(self.pem)


class SigningKey:
    """A private key that signs.

    Attributes:
        private: the key itself, for the forms of signature that others prescribe.
    """

    def __init__(self, private: PrivateKey) -> None:
        self.private = private

    @classmethod
    def generate(cls) -> Self:
        """Return a new Ed25519 key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key of Ed25519 or EC P-384 from an unencrypted PEM file. Raises StudyError where there is none."""
        return cls(load_signing_key(path))

    def save(self, path: Path) -> None:
        """Write the key for its owner alone. Raises StudyError where a file is there already."""
        if path.exists():
            raise StudyError(f"{path}: is there already and is never overwritten; move it away first")
        write_whole(path, self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PRIVATE)

    @property
    def public(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(self.private.public_key())

    def sign(self, purpose: Purpose, blob: bytes) -> str:
        """Return the signature over `blob` for `purpose`, base64."""
        return base64.b64encode(sign(self.private, _message(purpose, blob))).decode()


def signature_path(path: Path) -> Path:
    """Return where the signature of the file at `path` lies: beside it, with `.sig` added."""
    return path.with_name(path.name + ".sig")


def write_signed(path: Path, blob: bytes, key: SigningKey, purpose: Purpose) -> None:
    """Write `blob` to `path` and its signature beside it."""
    signature = key.sign(purpose, blob)
    write_whole(path, blob)
    write_whole(signature_path(path), f"{signature}\n".encode())


def read_signed(path: Path, pinned: VerifyKey, purpose: Purpose, limit: int) -> bytes:
    """Return what lies at `path`, of at most `limit` bytes.

    Raises:
        StudyError: where it is missing or larger.
        SignatureError: where it is not signed, or not by the pinned key.
    """
    blob = read_at_most(path, limit)
    if not signature_path(path).exists():
        raise SignatureError(f"{path}: is not signed; {signature_path(path).name} is missing beside it")
    signature = read_at_most(signature_path(path), MAX_SIGNATURE + 1).decode("ascii", "replace").strip()
    try:
        pinned.verify(purpose, blob, signature)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from None
    return blob


def _message(purpose: Purpose, blob: bytes) -> bytes:
    return b"\0".join((PREFIX, purpose.encode(), blob))
