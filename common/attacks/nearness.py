"""Nearest-training-neighbour memorisation: does a drawn picture lie nearer to one trained patient than a real one does?

After Carlini 2023 (Extracting Training Data from Diffusion Models, section 4.2) a picture's distance to its nearest
training patient is taken relative to its mean distance to the next ones, which blur or contrast change alike; a copy
has a small one. What is small is calibrated on the real picture of the same held-out patient and sequence, which no
model can have memorised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
"""Next patients to which the nearest is compared, or all there are."""
COPIED = 0.5
"""A drawn picture is called a copy where it is relatively nearer than this multiple of the real one (alpha there)."""
FEWEST_TRAINED = 3
"""Trained patients without whom nothing can be called relatively near."""
LARGEST_RATIO = 4.0

Distances = NDArray[np.float64]


def masked_distances(
    pictures: NDArray[np.floating], masks: NDArray[np.floating], trained: NDArray[np.floating]
) -> Distances:
    """Return the root mean square differences inside each picture's own mask, (Q, S).

    Args:
        pictures: (Q, F).
        masks: weight of each pixel, (Q, F), not all zero.
        trained: slices of one trained patient, (S, F).
    """
    shown, weight, seen = (np.asarray(part, dtype=np.float64) for part in (pictures, masks, trained))
    squares = (weight * shown**2).sum(axis=1)[:, None] - 2 * (weight * shown) @ seen.T + weight @ (seen**2).T
    distances: Distances = np.sqrt(np.maximum(squares, 0) / weight.sum(axis=1)[:, None])
    return distances


def nearness(distances: Distances) -> Distances:
    """Return each picture's distance to its nearest patient relative to the mean of the next, (Q,), 0 … 1.

    Args:
        distances: to each trained patient, (Q, P), P at least `FEWEST_TRAINED`.
    """
    ordered = np.sort(distances, axis=1)[:, : NEIGHBOURS + 1]
    beyond = ordered[:, 1:].mean(axis=1)
    relative: Distances = np.divide(ordered[:, 0], beyond, out=np.ones_like(beyond), where=beyond > 0)
    return relative


def copy_ratio(drawn: Distances, real: Distances) -> Distances:
    """Return how near each drawn picture lies for one of its kind, (Q,): 1 as near as the real one, 0 a copy.

    At most `LARGEST_RATIO`, which also stands where the real picture itself has a copy among the trained.

    Args:
        drawn, real: distances of the pictures to each trained patient, (Q, P).
    """
    ours, theirs = nearness(drawn), nearness(real)
    ratio = np.divide(ours, theirs, out=np.full_like(ours, LARGEST_RATIO), where=theirs > 0)
    return np.minimum(ratio, LARGEST_RATIO)
