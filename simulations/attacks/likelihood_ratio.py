"""Membership inference with shadow models (Shokri 2017), as a likelihood ratio a patient (LiRA, Carlini 2022).

Models come in pairs that halve the patients between them. Each is attacked with all others but its partner as shadows:
so a patient has as many shadows on one side as on the other, and neither side is the better known. A patient's log loss
is Gaussian among the shadows that were trained on it, and among those that were not; few shadows share one variance
over patients, as the paper's section VI-B does. The ratio of both likelihoods at the attacked model's is the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Matrix = NDArray[np.float64]
FEWEST = 2
"""Shadows on either side without whom a patient's Gaussian has no variance."""


@dataclass(frozen=True)
class Shadows:
    """The loss of every patient under every model, and who was trained on; both (models, patients).

    Models 2i and 2i + 1 are partners: a patient was trained on by one of them.
    """

    losses: Matrix
    inside: NDArray[np.bool_]


def likelihood_ratios(shadows: Shadows) -> Matrix:
    """Return how much likelier each loss is of a model that was trained on the patient, (models, patients).

    Raises:
        ValueError: where a patient has fewer than `FEWEST` shadows on either side, or a loss is not above zero.
    """
    if not (shadows.losses > 0).all():
        raise ValueError("a loss is not above zero, and has no logarithm")
    values = np.log(shadows.losses)
    ratios = np.empty_like(values)
    for model in range(len(values)):
        others = np.arange(len(values)) // 2 != model // 2
        known, inside = values[others], shadows.inside[others]
        likelihoods = [_log_likelihood(values[model], known, side) for side in (inside, ~inside)]
        ratios[model] = likelihoods[0] - likelihoods[1]
    return ratios


def _log_likelihood(seen: Matrix, known: Matrix, side: NDArray[np.bool_]) -> Matrix:
    """Return the log density of each patient's value, (patients,), among its shadows on one side."""
    counts = side.sum(axis=0)
    if counts.min() < FEWEST:
        raise ValueError(f"a patient has {counts.min()} shadows on one side, {FEWEST} are needed; train more of them")
    means = np.where(side, known, 0).sum(axis=0) / counts
    residuals = np.where(side, known - means, 0)
    variance = np.square(residuals).sum() / (counts - 1).sum()
    density: Matrix = norm.logpdf(seen, means, np.sqrt(max(variance, 1e-12)))
    return density
