"""What DP-SGD has cost: epsilon of many steps at a delta, by Rényi divergence and by privacy-loss distribution.

Both hold for adding or removing one patient under Poisson sampling. RDP (Mironov et al. 2019) is an upper bound in
closed form; PRV (Gopi et al. 2021) follows the distribution of the privacy loss itself and is tighter where steps are
many. The smaller one is taken (docs/concepts/privacy.md says what each rests on).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EPS_ERROR = 0.01
"""How far above the true epsilon the PRV accountant's may lie; it is added, never taken away."""
ORDERS = (1.25, 1.5, 1.75, *map(float, range(2, 64)), 80.0, 128.0, 256.0)
"""Of the Rényi divergences, few of them fractions: those take Opacus a hundred times as long."""
LARGEST_MESH = 2**23
"""Points of the PRV accountant's mesh beyond which RDP alone is asked: a gigabyte, for an epsilon of no use."""


@dataclass(frozen=True)
class Steps:
    """Some steps of the Poisson-subsampled Gaussian mechanism.

    Attributes:
        count: how many.
        sampling_rate: chance of each patient to be drawn in a step.
        noise_multiplier: standard deviation of the noise over the clipping norm.
    """

    count: int
    sampling_rate: float
    noise_multiplier: float


def epsilon_of(steps: Iterable[Steps], delta: float) -> float:
    """Return the smaller of both accountants' epsilon for all `steps` together; 0 for none."""
    return _smaller(_merged(steps), delta)


def exceeds(steps: Iterable[Steps], delta: float, limit: float) -> bool:
    """Say whether epsilon of all `steps` is above `limit`; the slower accountant is asked only where it matters."""
    history = _merged(steps)
    return rdp_epsilon(history, delta) > limit and _smaller(history, delta) > limit


@lru_cache(maxsize=256)
def _smaller(history: tuple[Steps, ...], delta: float) -> float:
    by_rdp, by_prv = rdp_epsilon(history, delta), prv_epsilon(history, delta)
    return by_rdp if by_prv is None else min(by_rdp, by_prv)


def rdp_epsilon(steps: Iterable[Steps], delta: float) -> float:
    """Return epsilon by Rényi divergences; 0 for no steps."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    history = _merged(steps)
    if not history:
        return 0.0
    spent = sum(each.count * _divergences(each.sampling_rate, each.noise_multiplier) for each in history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the first or last of those tried: the bound holds
        return max(0.0, float(get_privacy_spent(orders=list(ORDERS), rdp=spent, delta=delta)[0]))


@lru_cache(maxsize=256)
def _divergences(sampling_rate: float, noise_multiplier: float) -> NDArray[np.float64]:
    """Return the divergence of one step at each of `ORDERS`; those of several add up. It takes up to a second."""
    from opacus.accountants.analysis.rdp import compute_rdp

    orders = list(ORDERS)
    found: NDArray[np.float64] = compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders)
    return found


def prv_epsilon(steps: Iterable[Steps], delta: float) -> float | None:
    """Return an upper bound of epsilon by privacy-loss distributions, None where they cannot be followed."""
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = _history(steps)
    if not accountant.history:
        return 0.0
    if any(rate == 1 for _, rate, _ in accountant.history) or _mesh(steps, delta) > LARGEST_MESH:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # logarithms outside the support, which it then leaves out
            found = float(accountant.get_epsilon(delta, eps_error=EPS_ERROR))
    except (RuntimeError, ValueError):  # its own checks of its numerics
        return None
    return max(0.0, found) if math.isfinite(found) else None


def _mesh(steps: Iterable[Steps], delta: float) -> float:
    """Return about how many points the PRV accountant needs."""
    history = list(steps)
    count = sum(each.count for each in history)
    width = 2 * (rdp_epsilon(history, delta / 4000) + 3)
    return width * math.sqrt(count * math.log(12000 / delta) / 2) / EPS_ERROR


def _merged(steps: Iterable[Steps]) -> tuple[Steps, ...]:
    """Return the steps with equal ones counted together; composition does not mind the order."""
    counts: dict[tuple[float, float], int] = {}
    for each in steps:
        key = (each.sampling_rate, each.noise_multiplier)
        counts[key] = counts.get(key, 0) + each.count
    return tuple(Steps(count, *key) for key, count in sorted(counts.items()) if count)


def _history(steps: Iterable[Steps]) -> list[tuple[float, float, int]]:
    return [(each.noise_multiplier, each.sampling_rate, each.count) for each in _merged(steps)]
