"""Segmentation loss under partial labels: a whole-tumour ROI, a full NCR/ED/ET map, or nothing.

Soft Dice over the batch plus binary cross-entropy, channel by channel. The sums of Dice run over all slices or patches
whose channel is known, so false positives on a tumour-free one enlarge the denominator and cost loss; a Dice of single
slices would be flat there. The dots in the shapes stand for H, W of slices or K, H, W of patches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

WHOLE, FULL = 1, 2
NCR, ET = 1, 4
SMOOTHING = 1.0


@dataclass(frozen=True)
class TumourTargets:
    """What the labels say about whole tumour (WT), tumour core (TC) and enhancing tumour (ET).

    Attributes:
        masks: (B, 3, …) float32, 0 or 1; zeros where unknown.
        known: (B, 3) bool: whether the labels of that slice or patch speak about that channel.
    """

    masks: Tensor
    known: Tensor


def tumour_targets(labels: Tensor, label_kind: Tensor) -> TumourTargets:
    """Return WT, TC and ET masks from labels (B, …) uint8 and their kind (B,): 0 none, 1 whole, 2 full."""
    whole = labels > 0
    core = (labels == NCR) | (labels == ET)
    full = label_kind == FULL
    known = torch.stack([(label_kind == WHOLE) | full, full, full], dim=1)
    masks = torch.stack([whole, core, labels == ET], dim=1) & _everywhere(known, labels.dim() - 1)
    return TumourTargets(masks.float(), known)


def tumour_loss(logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Return the mean over channels of soft Dice loss plus cross-entropy; zero, without gradient, where none is known.

    Args:
        logits: (B, C, …).
        masks: (B, C, …), 0 or 1.
        known: (B, C) bool; where false, neither value nor gradient of the logits matters.
    """
    channels = known.any(0)
    if not bool(channels.any()):
        return torch.zeros((), device=logits.device)
    logits = logits.float()
    weight = _everywhere(known.float(), logits.dim() - 2).expand_as(logits)
    sums = (0, *range(2, logits.dim()))
    probability = logits.sigmoid() * weight
    overlap = (probability * masks).sum(sums)
    total = (probability + masks * weight).sum(sums)
    dice = 1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    entropy = F.binary_cross_entropy_with_logits(logits, masks, weight=weight, reduction="none")
    entropy = entropy.sum(sums) / weight.sum(sums).clamp(min=1)
    return (dice + entropy)[channels].mean()


def deep_tumour_loss(levels: Iterable[Tensor], masks: Tensor, known: Tensor) -> Tensor:
    """Return the weighted mean of `tumour_loss` over levels, each weighing half of the one before (deep supervision).

    Args:
        levels: logits (B, C, …), finest first; each at the size of `masks` or at that divided by whole numbers.
        masks: (B, C, …), 0 or 1; a coarser level sees every second, fourth, … voxel of them.
        known: (B, C) bool, as in `tumour_loss`.
    """
    total, weights = torch.zeros((), device=masks.device), 0.0
    for number, logits in enumerate(levels):
        targets = F.interpolate(masks, logits.shape[2:], mode="nearest") if number else masks
        total = total + tumour_loss(logits, targets, known) / 2**number
        weights += 1 / 2**number
    return total / weights


def _everywhere(rows: Tensor, axes: int) -> Tensor:
    """Return (B, C) with `axes` axes of one position appended."""
    return rows.view(*rows.shape, *[1] * axes)
