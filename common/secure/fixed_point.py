"""Weights as fixed-point numbers in Z_2^32, in which masks are uniform and sums wrap around.

A site sends round(share x theta x 2^f), where its share w_s / W is its patients over all holders' patients: the sum is
a mean and lies within the clip, whatever the number of sites and the patients behind them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import FederationError

Words = NDArray[np.uint32]
Reals = NDArray[np.float64]


class BeyondClipError(FederationError):
    """A weight is too large, or not a number, for the study's fixed-point numbers."""

    code = "beyond-clip"


def check_range(values: NDArray[np.floating], clip: float) -> None:
    """Refuse numbers that are not finite or whose absolute value exceeds `clip`. Raises BeyondClipError."""
    if values.size and not float(np.max(np.abs(values))) <= clip:
        raise BeyondClipError(
            f"a weight is not finite or beyond {clip:g}; raise secure_aggregation.clip and lower fraction_bits"
        )


def encode(values: NDArray[np.floating], share: float, fraction_bits: int) -> Words:
    """Return round(share x values x 2^f) modulo 2^32; `values` have passed `check_range`, 0 <= share <= 1."""
    scaled = np.rint(values.astype(np.float64) * (share * 2.0**fraction_bits))
    return scaled.astype(np.int64).astype(np.uint32)


def decode(words: Words, share: float, fraction_bits: int) -> Reals:
    """Return the mean behind a sum of encoded numbers whose shares add up to `share`.

    Its error is at most n / 2 x 2^-f / share for n sites.
    """
    return words.view(np.int32).astype(np.float64) / (share * 2.0**fraction_bits)
