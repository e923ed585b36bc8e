"""Shamir's secret sharing over the prime field of 2^521 - 1: any `threshold` shares give the secret, fewer nothing.

Source: Shamir 1979, How to share a secret. The prime is the first of Mersenne's above 2^256, so that any 32 bytes fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PRIME = 2**521 - 1
SHARE_BYTES = 66


def deal(secret: int, coefficients: Sequence[int], points: Sequence[int]) -> dict[int, int]:
    """Return the value at each point of secret + c_1 x + c_2 x^2 + …; `len(coefficients) + 1` of them give it back.

    Args:
        secret: 0 <= secret < PRIME.
        coefficients: uniform in the field, used once, known to the dealer alone.
        points: distinct and not 0.
    """
    if not 0 <= secret < PRIME or 0 in points or len(set(points)) != len(points):
        raise ValueError("the secret must lie in the field, the points must be distinct and not 0")
    shares = {}
    for point in points:
        value = 0
        for coefficient in reversed([secret, *coefficients]):
            value = (value * point + coefficient) % PRIME
        shares[point] = value
    return shares


def combine(shares: Mapping[int, int]) -> int:
    """Return the secret behind shares by point (Lagrange at 0); garbage where they are too few or wrong."""
    total = 0
    for point, value in shares.items():
        above, below = 1, 1
        for other in shares:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME
