"""What one site's secrets of an attempt are, what two sites derive together, and the boxes they send each other.

Everything secret of an attempt follows from one random number of 32 bytes (HKDF-SHA256 with the attempt as context), so
that a repeated request is answered with the same bytes, and forgetting the number forgets all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.errors import FederationError
from common.secure.attempt import Attempt
from common.secure.shamir import PRIME, SHARE_BYTES

SECRET_BYTES = 32
BOX_NONCE = bytes(12)
"""Each box has a key of its own (attempt, sender, receiver), so the nonce need not differ."""


class SecureKeyError(FederationError):
    """A key or a box of another site cannot be what an honest site sent."""

    code = "bad-key"


def derive(secret: bytes, attempt: Attempt, *label: str, size: int = SECRET_BYTES) -> bytes:
    """Return `size` bytes that belong to `secret`, the attempt and the label, and tell nothing of each other."""
    info = attempt.context + "\n".join(["", *label]).encode()
    return HKDF(SHA256(), length=size, salt=None, info=info).derive(secret)


@dataclass(frozen=True)
class AttemptSecrets:
    """A site's secrets of one attempt, all from `secret`."""

    secret: bytes
    attempt: Attempt

    @property
    def cipher_key(self) -> bytes:
        """Private X25519 key with which boxes to and from this site are encrypted."""
        return derive(self.secret, self.attempt, "cipher key")

    @property
    def mask_key(self) -> bytes:
        """Private X25519 key behind the pairwise masks; dealt to the others in shares."""
        return derive(self.secret, self.attempt, "mask key")

    def self_seed(self, group: str) -> bytes:
        """Seed of the self-mask on a parameter group; dealt to the others in shares."""
        return derive(self.secret, self.attempt, "self mask", group)

    def coefficients(self, what: str, threshold: int) -> list[int]:
        """Return the random coefficients with which `what` is shared; their bias is below 2^-500."""
        return [
            int.from_bytes(derive(self.secret, self.attempt, "share", what, str(power), size=SHARE_BYTES)) % PRIME
            for power in range(1, threshold)
        ]


def public_key(private: bytes) -> bytes:
    """Return the public X25519 key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def shared_secret(private: bytes, public: bytes) -> bytes:
    """Return what the owners of two X25519 keys share. Raises SecureKeyError for a key of small order."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise SecureKeyError("a public key is of small order; no honest site makes one") from None


def pair_seed(shared: bytes, attempt: Attempt, one: str, other: str, group: str) -> bytes:
    """Return the seed of the mask between two sites on a parameter group, the same for both."""
    return derive(shared, attempt, "pair mask", *sorted((one, other)), group)


def seal(shared: bytes, attempt: Attempt, sender: str, receiver: str, content: bytes) -> bytes:
    """Return `content` encrypted from sender to receiver, once per attempt."""
    key = derive(shared, attempt, "box", sender, receiver)
    return ChaCha20Poly1305(key).encrypt(BOX_NONCE, content, attempt.context)


def unseal(shared: bytes, attempt: Attempt, sender: str, receiver: str, box: bytes) -> bytes:
    """Return the content of a box. Raises SecureKeyError where it is not as the sender sealed it for this attempt."""
    key = derive(shared, attempt, "box", sender, receiver)
    try:
        return ChaCha20Poly1305(key).decrypt(BOX_NONCE, box, attempt.context)
    except InvalidTag:
        raise SecureKeyError(f"a box from {sender} to {receiver} was not sealed for this attempt") from None
