"""Segmentation loss under partial labels: a whole-tumour ROI, a full NCR/ED/ET map, or nothing.

Soft Dice over the batch plus binary cross-entropy, channel by channel. The sums of Dice run over all slices whose
channel is known, so false positives on a tumour-free slice enlarge the denominator and cost loss; a Dice of single
slices would be flat there.
"""

from __future__ import annotations

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
        masks: (B, 3, H, W) float32, 0 or 1; zeros where unknown.
        known: (B, 3) bool: whether the labels of that slice speak about that channel.
    """

    masks: Tensor
    known: Tensor


def tumour_targets(labels: Tensor, label_kind: Tensor) -> TumourTargets:
    """Return WT, TC and ET masks from labels (B, H, W) uint8 and their kind (B,): 0 none, 1 whole, 2 full."""
    whole = labels > 0
    core = (labels == NCR) | (labels == ET)
    full = label_kind == FULL
    known = torch.stack([(label_kind == WHOLE) | full, full, full], dim=1)
    masks = torch.stack([whole, core, labels == ET], dim=1) & known[:, :, None, None]
    return TumourTargets(masks.float(), known)


def tumour_loss(logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Return the mean over channels of soft Dice loss plus cross-entropy; zero, without gradient, where none is known.

    Args:
        logits: (B, C, H, W).
        masks: (B, C, H, W), 0 or 1.
        known: (B, C) bool; where false, neither value nor gradient of the logits matters.
    """
    channels = known.any(0)
    if not bool(channels.any()):
        return torch.zeros((), device=logits.device)
    logits = logits.float()
    weight = known.float()[:, :, None, None].expand_as(logits)
    probability = logits.sigmoid() * weight
    overlap = (probability * masks).sum((0, 2, 3))
    total = (probability + masks * weight).sum((0, 2, 3))
    dice = 1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    entropy = F.binary_cross_entropy_with_logits(logits, masks, weight=weight, reduction="none")
    entropy = entropy.sum((0, 2, 3)) / weight.sum((0, 2, 3)).clamp(min=1)
    return (dice + entropy)[channels].mean()
