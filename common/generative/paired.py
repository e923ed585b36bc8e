"""Losses between a drawn picture and the true one of the same patient: error, structure, and a critic's features."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS, SIGMA = 5, 1.5
BACKGROUND = -1.0


def weighted_error(drawn: Tensor, true: Tensor, weight: Tensor, squared: bool = False) -> Tensor:
    """Return the weighted mean absolute or squared error; zero, without gradient, where no weight is positive.

    Args:
        drawn, true, weight: of one shape; `weight` is nowhere negative.
    """
    total = weight.sum()
    if not bool(total > 0):
        return torch.zeros((), device=drawn.device)
    error = drawn - true
    return (weight * (error.square() if squared else error.abs())).sum() / total


def feature_distance(drawn: Iterable[Tensor], true: Iterable[Tensor]) -> Tensor:
    """Return the mean absolute difference of features, averaged over layers (Radiology 308(2):e222471)."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(drawn, true, strict=True)]).mean()


def dissimilarity(drawn: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - SSIM averaged over `mask` (Wang 2004: Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03).

    The same measure as `common.metrics.fidelity`, on the graph; background surrounds the picture. Call it outside
    autocast: differences of squares do not survive bf16.

    Args:
        drawn, true: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) bool, somewhere true.
    """
    from monai.metrics.regression import compute_ssim_and_cs

    x, y = (F.pad((picture - BACKGROUND) / 2, (RADIUS,) * 4) for picture in (drawn.float(), true.float()))
    size = (2 * RADIUS + 1,) * 2
    similarity, _ = compute_ssim_and_cs(x, y, 2, kernel_size=size, kernel_sigma=(SIGMA, SIGMA))
    return 1 - torch.as_tensor(similarity)[mask].mean()
