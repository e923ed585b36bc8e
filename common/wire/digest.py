"""The digest under which a group of tensors is known: SHA-256 of its safetensors bytes, names and shapes included."""

from __future__ import annotations

import hashlib

from safetensors.torch import save

from common.parameters import StateDict


def tensor_bytes(tensors: StateDict) -> bytes:
    """Return the safetensors bytes; equal tensors give equal bytes, whatever their order."""
    return save({name: tensors[name].contiguous() for name in sorted(tensors)})


def digest_of(tensors: StateDict) -> str:
    """Return the digest, 64 hex digits."""
    return hashlib.sha256(tensor_bytes(tensors)).hexdigest()
