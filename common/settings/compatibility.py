"""Which protections go together, pair by pair (docs/reference/compatibility.md); a study of two that clash is refused.

A combination works where each of its pairs does.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from itertools import combinations


class Protection(StrEnum):
    """What a study may ask for on the way of an update, in the order of the page's table."""

    SECURE = "secure aggregation"
    ROBUST = "robust rule"
    PRIVATE = "differential privacy"
    CODED = "coded wire"
    NORMS = "norm gate"


CONFLICTS: dict[frozenset[Protection], str] = {
    frozenset({Protection.SECURE, Protection.ROBUST}): (
        "secure_aggregation.enabled: the coordinator sees no update singly, a median or a trimmed mean needs each of "
        'them; set aggregation.rule = "mean", or secure_aggregation.enabled = false'
    ),
    frozenset({Protection.SECURE, Protection.CODED}): (
        "secure_aggregation.enabled: masks add up in one fixed-point code, and tensors rounded otherwise do not; set "
        'wire.up and wire.down = "lossless", or secure_aggregation.enabled = false'
    ),
    frozenset({Protection.SECURE, Protection.NORMS}): (
        "secure_aggregation.enabled: the coordinator sees no update singly, so that none can be too large; set "
        "gate.norm_limit = 0, or secure_aggregation.enabled = false"
    ),
}
"""Pairs that exclude each other, and the text that refuses the study; every other pair goes together."""


def conflict(asked: Collection[Protection]) -> str | None:
    """Return why these protections cannot go together, None where they can."""
    pairs = combinations([each for each in Protection if each in asked], 2)
    return next((CONFLICTS[frozenset(pair)] for pair in pairs if frozenset(pair) in CONFLICTS), None)
