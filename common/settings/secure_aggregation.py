"""`[secure_aggregation]`: whether the coordinator learns only the sum of the sites' updates, and in which numbers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from common.settings.frozen import Frozen

RING_BITS = 32
MINIMUM_SITES = 3
"""Sites below which no sum is opened: with two, each could subtract its own part and read the other's."""
MAXIMUM_SITES = 256


class SecureAggregation(Frozen):
    """Whether updates leave the sites under masks that only their sum sheds (Bonawitz 2017).

    Attributes:
        threshold: sites that must help to open a sum; absent: the smallest majority of the study's sites, at least 3.
        fraction_bits: bits behind the binary point of the fixed-point numbers in which sums are formed.
        clip: largest absolute value of a weight; a site whose update exceeds it sends nothing, and says so.
        phase_deadline_s: seconds for each of the short messages around the training.
        attempts: how often a round may begin anew, with fresh keys, before it is given up.
    """

    enabled: bool = False
    threshold: Annotated[int, Field(ge=MINIMUM_SITES, le=MAXIMUM_SITES)] | None = None
    fraction_bits: Annotated[int, Field(ge=8, le=30)] = 24
    clip: Annotated[float, Field(gt=0, le=2.0**20)] = 64.0
    phase_deadline_s: Annotated[float, Field(gt=0, le=86400)] = 300.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        # A mean lies within the clip; each site's rounding adds at most half a unit.
        if self.clip * 2**self.fraction_bits + MAXIMUM_SITES > 2 ** (RING_BITS - 1) - 1:
            raise ValueError(
                f"clip: {self.clip:g} with {self.fraction_bits} fraction bits overflows {RING_BITS} bits; "
                f"lower fraction_bits, or clip to below {2 ** (RING_BITS - 1 - self.fraction_bits)}"
            )
        return self

    def needed(self, sites: int) -> int:
        """Return how many of a study's `sites` must help to open a sum, and survive a round."""
        return max(MINIMUM_SITES, sites // 2 + 1) if self.threshold is None else self.threshold

    def problem(self, sites: int) -> str | None:
        """Say why a study of `sites` sites cannot be run so; None where it can, or is not asked to."""
        if not self.enabled:
            return None
        if not MINIMUM_SITES <= sites <= MAXIMUM_SITES:
            return f"secure_aggregation: needs {MINIMUM_SITES} to {MAXIMUM_SITES} sites, the study has {sites}"
        needed = self.needed(sites)
        if needed > sites:
            return f"secure_aggregation.threshold: {needed} of {sites} sites can never be reached"
        if 2 * needed <= sites:
            return (
                f"secure_aggregation.threshold: {needed} of {sites} sites is no majority, so that two halves could be "
                f"asked for both secrets of one site; set at least {sites // 2 + 1}"
            )
        return None
