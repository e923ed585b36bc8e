"""Membership inference by loss (Yeom 2018): a patient that a model was trained on is expected to have a smaller loss.

Every threshold on the loss is an attack. A patient's placement is the share of the other class that the attack orders
rightly against it, ties one half; a member's is one minus the false alarms of the threshold that just catches it, and
the mean placement is the area under the attack's ROC curve. Both are taken within one site, which no other scanner or
cohort can disguise or flatter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

ROUNDING = 1e-9


@dataclass(frozen=True)
class Placements:
    """Of each member the share of strangers with a larger loss, of each stranger the share of members with a smaller.

    Patient key → 0 … 1; empty where either class is.
    """

    members: dict[str, float]
    strangers: dict[str, float]


def placements(members: Mapping[str, float], strangers: Mapping[str, float]) -> Placements:
    """Return the placements of patients by their losses. Raises DataError where a loss is not finite."""
    known, foreign = (np.array(list(losses.values()), dtype=np.float64) for losses in (members, strangers))
    if not (np.isfinite(known).all() and np.isfinite(foreign).all()):
        raise DataError("the loss of a patient under the released model is not finite; the model is of no use")
    if not (len(known) and len(foreign)):
        return Placements({}, {})
    right: NDArray[np.float64] = (known[:, None] < foreign[None]) + 0.5 * (known[:, None] == foreign[None])
    return Placements(
        dict(zip(members, right.mean(axis=1).tolist(), strict=True)),
        dict(zip(strangers, right.mean(axis=0).tolist(), strict=True)),
    )


def false_alarm_bin(placement: float, bins: int) -> int:
    """Return in which of `bins` equal parts of 0 … 1 the false alarms fall that catching this member costs.

    Part i holds shares above i / bins and at most (i + 1) / bins; the first holds 0 too.
    """
    return max(math.ceil((1 - placement) * bins - ROUNDING) - 1, 0)
