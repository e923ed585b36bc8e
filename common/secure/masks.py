"""ChaCha20 keystreams as masks in Z_2^32: added by one party, taken away by another, uniform to everybody else."""

from __future__ import annotations

from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from common.secure.fixed_point import Words

CHUNK_WORDS = 1 << 18
"""One mebibyte of keystream at a time, which stays in the processor's cache."""

NONCE = bytes(16)
"""Block counter and nonce begin at 0: a seed makes one stream, and no seed is used twice."""


def add_mask(words: Words, seed: bytes, sign: Literal[1, -1]) -> None:
    """Add the keystream of `seed` (32 bytes) to `words` in place, or take it away.

    Words are little-endian, so that the bytes do not depend on the machine.
    """
    stream = Cipher(ChaCha20(seed, NONCE), mode=None).encryptor()
    zeros, buffer = bytes(4 * CHUNK_WORDS), bytearray(4 * CHUNK_WORDS)
    move = np.add if sign == 1 else np.subtract
    for start in range(0, words.size, CHUNK_WORDS):
        part = words[start : start + CHUNK_WORDS]
        stream.update_into(memoryview(zeros)[: 4 * part.size], buffer)
        move(part, np.frombuffer(buffer, dtype="<u4", count=part.size), out=part)
