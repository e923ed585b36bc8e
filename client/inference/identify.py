"""BBB status of a case: how well each drawn T1Gd agrees with it, over the slices inside its predicted tumour (CBSI).

Per volume, the consistency of a hypothesis is the share of its slices whose probability reaches lambda_c; a softmax of
the two shares is compared with lambda_r (Nat Commun 17:2162). What the paper leaves open is decided here: no predicted
tumour is indeterminate; equal shares are decided by the mean probabilities where these differ by at least `TIE_MARGIN`,
and are indeterminate otherwise. Where a calibration was fitted, the score becomes a probability. It comes from the
means, the decision from the shares: a case on whose side of one half the two disagree is left undecided, and, if the
study says so, one whose probability lies too close to one half. The identifier looks at a window of half
the slice's sides around the predicted tumour, not at the whole slice: few patients then teach it where to look.

The ablation's plain classifier (`contrastive = false`) looks at T1, FLAIR and the mean of both hypotheses, the picture
that a synthesiser without a label would draw, and gives the probability of disruption itself; the two hypotheses'
consistencies are then p and 1 - p, and the rest is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.inference.synthesise import consistency
from common.metrics.platt import PlattCurve

Slices = NDArray[np.float32]

TUMOUR_PROBABILITY = 0.5
SMALLEST_SHARE = 0.0015
"""Least share of a slice's pixels that predicted tumour must cover: 8 pixels of 64 x 80."""
TIE_MARGIN = 0.02

NO_TUMOUR = "no tumour found"
TIE = "tie"
UNCERTAIN = "probability too close to one half"
DISAGREEMENT = "shares and probability disagree"


@dataclass(frozen=True)
class BbbResult:
    """The BBB status of one case, and what it rests on.

    Attributes:
        status: `indeterminate` comes with a `reason`.
        reason: why there is no status; None where there is one.
        consistency_enhancing, consistency_non_enhancing: share of slices that reach lambda_c, None without slices.
        relative_enhancing: softmax of the two shares, that of the enhancing hypothesis.
        mean_enhancing, mean_non_enhancing: mean probability over the slices.
        decided_by: which of the two decided; None where indeterminate.
        slices: number of slices used.
        probability: calibrated probability that the barrier is disrupted; None without a calibration, and for a case
            that is indeterminate for any reason but that very probability.
    """

    status: Literal["disrupted", "intact", "indeterminate"]
    reason: str | None
    consistency_enhancing: float | None
    consistency_non_enhancing: float | None
    relative_enhancing: float | None
    mean_enhancing: float | None
    mean_non_enhancing: float | None
    decided_by: Literal["shares", "means"] | None
    slices: int
    probability: float | None = None

    @property
    def score(self) -> float:
        """Graded score for ROC curves, in [-1, 1]: difference of the mean probabilities, 0 without a tumour."""
        if self.mean_enhancing is None or self.mean_non_enhancing is None:
            return 0.0
        return self.mean_enhancing - self.mean_non_enhancing


def identify_volume(
    probabilities_enhancing: Slices,
    probabilities_non_enhancing: Slices,
    slice_threshold: float = 0.5,
    volume_threshold: float = 0.5,
) -> BbbResult:
    """Apply the volume rule.

    Args:
        probabilities_enhancing, probabilities_non_enhancing: consistency of each hypothesis, (n,) in [0, 1], for the
            same n slices inside the tumour.
        slice_threshold: lambda_c.
        volume_threshold: lambda_r.
    """
    count = len(probabilities_enhancing)
    if count == 0:
        return BbbResult("indeterminate", NO_TUMOUR, None, None, None, None, None, None, 0)
    share_plus = float(np.mean(probabilities_enhancing >= slice_threshold))
    share_minus = float(np.mean(probabilities_non_enhancing >= slice_threshold))
    mean_plus, mean_minus = float(np.mean(probabilities_enhancing)), float(np.mean(probabilities_non_enhancing))
    relative = 1 / (1 + math.exp(share_minus - share_plus))
    decided_by: Literal["shares", "means"] | None = "shares"
    disrupted = relative >= volume_threshold
    if share_plus == share_minus:
        decided_by = "means" if abs(mean_plus - mean_minus) >= TIE_MARGIN else None
        disrupted = mean_plus > mean_minus
    status: Literal["disrupted", "intact"] = "disrupted" if disrupted else "intact"
    return BbbResult(
        status="indeterminate" if decided_by is None else status,
        reason=TIE if decided_by is None else None,
        consistency_enhancing=share_plus,
        consistency_non_enhancing=share_minus,
        relative_enhancing=relative,
        mean_enhancing=mean_plus,
        mean_non_enhancing=mean_minus,
        decided_by=decided_by,
        slices=count,
    )


def with_probability(result: BbbResult, calibration: PlattCurve | None, abstain_margin: float = 0.0) -> BbbResult:
    """Return a decided case with its calibrated probability, undecided again where that is uncertain or disagrees.

    Args:
        result: what the volume rule says; an indeterminate one comes back as it is.
        calibration: of the score; None gives no probability, and no abstention either.
        abstain_margin: least distance of the probability from one half.
    """
    if calibration is None or result.status == "indeterminate":
        return result
    probability = calibration(result.score)
    distance = probability - 0.5
    against = distance < 0 if result.status == "disrupted" else distance > 0
    if abs(distance) >= abstain_margin and not against:
        return replace(result, probability=probability)
    reason = UNCERTAIN if abs(distance) < abstain_margin else DISAGREEMENT
    return replace(result, status="indeterminate", reason=reason, decided_by=None, probability=probability)


def identify_case(
    identifier: Callable[[Tensor], Tensor],
    images: Slices,
    tumour_probability: Slices,
    slice_threshold: float = 0.5,
    volume_threshold: float = 0.5,
    *,
    contrastive: bool = True,
) -> BbbResult:
    """Find the tumour's slices, score both hypotheses on them, and apply the volume rule.

    Args:
        identifier: (B, 3, h, w) of T1, FLAIR, T1Gd to logits (B,).
        images: T1, FLAIR, T1Gd if disrupted, T1Gd if intact, (4, K, H, W) in [-1, 1].
        tumour_probability: predicted whole tumour, (K, H, W), found without a real T1Gd.
        slice_threshold: lambda_c.
        volume_threshold: lambda_r.
        contrastive: how the identifier was trained.
    """
    windows = tumour_windows(images, tumour_probability)
    return identify_volume(
        *slice_probabilities(identifier, windows, contrastive=contrastive), slice_threshold, volume_threshold
    )


def slice_probabilities(
    identifier: Callable[[Tensor], Tensor], windows: Slices, *, contrastive: bool = True
) -> tuple[Slices, Slices]:
    """Return the consistency of either hypothesis, enhancing first, per slice of T1, FLAIR, T1Gd⁺, T1Gd⁻ (4, n, h, w).

    Each is (n,) in [0, 1].
    """
    t1, flair, enhancing, non_enhancing = windows
    if contrastive:
        return consistency(identifier, t1, flair, enhancing), consistency(identifier, t1, flair, non_enhancing)
    disrupted = consistency(identifier, t1, flair, (enhancing + non_enhancing) / 2)
    return disrupted, 1 - disrupted


def tumour_slices(tumour_probability: Slices) -> NDArray[np.intp]:
    """Return the numbers of the slices with enough predicted tumour; tumour_probability has axes (K, H, W)."""
    height, width = tumour_probability.shape[1:]
    area = (tumour_probability >= TUMOUR_PROBABILITY).sum(axis=(1, 2))
    return np.flatnonzero(area >= max(1, round(SMALLEST_SHARE * height * width)))


def tumour_windows(images: Slices, tumour_probability: Slices) -> Slices:
    """Return what the identifier sees of each slice inside the predicted tumour.

    Args:
        images: (C, K, H, W).
        tumour_probability: (K, H, W).
    Returns:
        (C, n, H // 2, W // 2): windows centred on each slice's predicted tumour, shifted where they would leave it.
    """
    height, width = tumour_probability.shape[1:]
    tumour = tumour_probability >= TUMOUR_PROBABILITY
    numbers = tumour_slices(tumour_probability)
    rows, columns = height // 2, width // 2
    windows = np.empty((images.shape[0], len(numbers), rows, columns), dtype=np.float32)
    for position, number in enumerate(numbers):
        top, left = (
            min(max(round(float(where.mean())) - side // 2, 0), whole - side)
            for where, side, whole in zip(np.nonzero(tumour[number]), (rows, columns), (height, width), strict=True)
        )
        windows[:, position] = images[:, number, top : top + rows, left : left + columns]
    return windows
