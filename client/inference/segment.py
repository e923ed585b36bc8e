"""Tumour segmentation of a stack of structural slices, and the label map that its three channels spell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from client.inference.device import device_of
from client.precision import half_precision
from common.nets.segmenter_plan import Reading

WHOLE, CORE, ENHANCING = 0, 1, 2
"""Channels of the segmenter: whole tumour, tumour core, enhancing tumour."""

BACKGROUND = -1.0
SLICE_BY_SLICE = Reading()
THRESHOLD = 0.5
SMALLEST_ML = 0.5

Model = Callable[[Tensor], Tensor]


@torch.inference_mode()
def segment_volume(model: Model, stack: NDArray[np.float32], batch: int = 32) -> NDArray[np.float32]:
    """Return the probabilities of whole tumour, core and enhancing tumour, (3, K, H, W).

    Args:
        model: (B, 4, …) in the order of STRUCTURAL to logits (B, 3, …); its `reading` says whether it takes slices or
            windows, and which mirror images. Without one it takes slices as they are.
        stack: T1, T1Gd, T2, FLAIR, (4, K, H, W) in [-1, 1], real or filled.
        batch: slices at a time; a window counts all of its own.
    Returns:
        Zero wherever all four sequences show background, and on slices without brain.
    """
    reading: Reading = getattr(model, "reading", SLICE_BY_SLICE)
    inside: NDArray[np.bool_] = np.any(stack > -1, axis=0)
    out = np.zeros((3, *stack.shape[1:]), dtype=np.float32)
    if inside.any():
        read = partial(_slice_by_slice, model, batch=batch)
        if reading.window is not None:
            read = partial(_in_windows, model, reading.window, reading.overlap, batch=batch)
        box = _box(inside, whole_slices=reading.window is None)
        images = torch.from_numpy(np.ascontiguousarray(stack[:, *box])).to(device_of(model))
        found = _mirrored(read, images, reading.flips)
        out[:, *box] = found.cpu().numpy()
    return np.where(inside, out, np.float32(0))


def _mirrored(read: Callable[[Tensor], Tensor], volume: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the mean of `read` over all mirror images of a volume (4, K, H, W), mirrored back.

    Taken axis by axis as the mean of two, the same whichever of them comes first: a mirrored volume gives exactly the
    mirrored result.
    """
    if not axes:
        return read(volume)
    first, rest = axes[0], axes[1:]
    there = _mirrored(read, volume, rest)
    return (there + _mirrored(read, volume.flip(first), rest).flip(first)) / 2


def _slice_by_slice(model: Model, volume: Tensor, batch: int) -> Tensor:
    """Return probabilities (3, K, H, W) of a volume (4, K, H, W); zeros on slices that show background alone."""
    out = volume.new_zeros((3, *volume.shape[1:]))
    occupied = (volume > -1).flatten(2).any(2).any(0).nonzero()[:, 0]
    for rows in torch.split(occupied, batch):
        out[:, rows] = _probabilities(model, volume[:, rows].transpose(0, 1)).transpose(0, 1)
    return out


def _in_windows(model: Model, window: tuple[int, int, int], overlap: float, volume: Tensor, batch: int) -> Tensor:
    """Return probabilities (3, K, H, W): means over the windows that cover a voxel, their middle weighing most."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=window,
        sw_batch_size=max(1, batch // window[0]),
        overlap=overlap,
        mode="gaussian",
        padding_mode="constant",
        cval=BACKGROUND,
    )
    found: Tensor = inferer(volume[None], lambda windows: _probabilities(model, windows))
    return found[0]


def _probabilities(model: Model, images: Tensor) -> Tensor:
    with half_precision(images.device):
        logits = model(images)
    return torch.sigmoid(logits.float())


def _box(inside: NDArray[np.bool_], whole_slices: bool) -> tuple[slice, slice, slice]:
    """Return the smallest box around what is inside, along K alone where slices must stay whole."""
    sides = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    k, h, w = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return (k, slice(None), slice(None)) if whole_slices else (k, h, w)


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
