"""Under which policy an update was kept: it may leave under that one alone."""

from __future__ import annotations

import hashlib

from client.config import Policy

BESIDE = {"approve_everything", "hours", "gpu_memory_gb", "disk_gb"}
"""Settings that say who approved a study, and when and on what it is computed, but not what of it may leave."""


def policy_digest(policy: Policy) -> str:
    """Return the SHA-256 of all in a policy that decides what may leave."""
    return hashlib.sha256(policy.model_dump_json(exclude=BESIDE).encode()).hexdigest()
