"""Whether a table of validation patients holds shares of them: what is no share could outweigh all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLACK = 1e-6
"""How far a sum of shares may be off that was formed in float64."""


def false_shares(decisions: NDArray[np.float64], scores: NDArray[np.float64], slack: float = SLACK) -> str | None:
    """Return what is wrong with a table of `common.nets.validation_table`, None where it can be true.

    Each pair of thresholds decides on every patient once; a patient has one score or none.
    """
    for name, shares in (("decisions", decisions), ("scores", scores)):
        if not bool(((shares >= 0) & (shares <= 1 + slack)).all()):
            return f"{name} holds a share outside 0 … 1"
    if bool((np.abs(decisions.sum(axis=(-2, -1)) - 1) > slack).any()):
        return "the decisions at a pair of thresholds do not sum to 1"
    return "the scores sum to more than 1" if float(scores.sum()) > 1 + slack else None
