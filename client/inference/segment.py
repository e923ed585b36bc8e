"""Tumour segmentation of a stack of structural slices, and the label map that its three channels spell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from client.inference.device import autocast, device_of

WHOLE, CORE, ENHANCING = 0, 1, 2
"""Channels of the segmenter: whole tumour, tumour core, enhancing tumour."""

THRESHOLD = 0.5
SMALLEST_ML = 0.5


@torch.inference_mode()
def segment_volume(
    model: Callable[[Tensor], Tensor], stack: NDArray[np.float32], batch: int = 32
) -> NDArray[np.float32]:
    """Return the probabilities of whole tumour, core and enhancing tumour, (3, K, H, W).

    Args:
        model: (B, 4, H, W) in the order of STRUCTURAL to logits (B, 3, H, W).
        stack: T1, T1Gd, T2, FLAIR, (4, K, H, W) in [-1, 1], real or filled.
        batch: slices at a time.
    Returns:
        Zero on slices without brain and wherever all four sequences show background.
    """
    device = device_of(model)
    inside: NDArray[np.bool_] = np.any(stack > -1, axis=0)
    out = np.zeros((3, *stack.shape[1:]), dtype=np.float32)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    for start in range(0, len(occupied), batch):
        rows = occupied[start : start + batch]
        images = torch.from_numpy(np.ascontiguousarray(stack[:, rows].transpose(1, 0, 2, 3))).to(device)
        with autocast(device):
            logits = model(images)
        out[:, rows] = torch.sigmoid(logits.float()).cpu().numpy().transpose(1, 0, 2, 3)
    return np.where(inside, out, np.float32(0))


def labels_of(probabilities: NDArray[np.float32], threshold: float = THRESHOLD) -> NDArray[np.uint8]:
    """Return labels 0 / 1 NCR / 2 ED / 4 ET from probabilities (3, ...); ET counts within TC, TC within WT (BraTS)."""
    whole, core, enhancing = (channel >= threshold for channel in probabilities)
    labels = np.where(whole, 2, 0).astype(np.uint8)
    labels[whole & core] = 1
    labels[whole & core & enhancing] = 4
    return labels


def whole_tumour(probabilities: NDArray[np.float32], voxel_ml: float) -> NDArray[np.float32]:
    """Return the whole tumour's probability, (K, H, W), zero in specks and outside the tumour; from (3, K, H, W)."""
    found = without_specks(labels_of(probabilities), voxel_ml) > 0
    return np.where(found, probabilities[WHOLE], np.float32(0))


def without_specks(labels: NDArray[np.uint8], voxel_ml: float, smallest_ml: float = SMALLEST_ML) -> NDArray[np.uint8]:
    """Return labels, any axes, without connected tumour (faces touching) of less than `smallest_ml`.

    A lesion this small is at the limit of what the study grid resolves; false positives of this size are common.
    """
    parts, count = label(labels > 0)
    volumes = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml
    kept = volumes >= smallest_ml
    kept[0] = False
    return np.where(kept[parts], labels, 0).astype(np.uint8)
