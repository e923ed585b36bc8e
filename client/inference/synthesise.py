"""Both hypotheses about the blood-brain barrier over a whole volume, and how well each agrees with the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.inference.device import autocast, device_of
from common.generative.hypotheses import Synthesiser, draw_hypotheses
from common.generative.noise_schedule import NoiseSchedule
from common.seeding import torch_generator

Slices = NDArray[np.float32]


@dataclass(frozen=True)
class HypothesesVolume:
    """Both pictures of one case, (K, H, W) each.

    Attributes:
        enhancing: T1Gd in [-1, 1] if the barrier is disrupted.
        non_enhancing: T1Gd in [-1, 1] if it is intact.
        tumour_probability: the synthesiser's own whole-tumour probability, in [0, 1].
    """

    enhancing: Slices
    non_enhancing: Slices
    tumour_probability: Slices


@torch.inference_mode()
def hypotheses_volume(
    model: Synthesiser,
    schedule: NoiseSchedule,
    steps: int,
    condition: Slices,
    seed: int,
    brain: NDArray[np.uint8] | None = None,
    batch: int = 16,
) -> HypothesesVolume:
    """Draw T1Gd with and without enhancement for every slice that shows brain.

    One noise slice serves the whole volume and both hypotheses, so that the two differ by the label alone and
    neighbouring slices by anatomy alone, and the result does not depend on `batch`.

    Args:
        model: the released synthesiser.
        schedule: the schedule it was trained with.
        steps: DDIM steps.
        condition: T1 and FLAIR, (2, K, H, W) in [-1, 1], real or filled.
        seed: of the noise; the stream is called `hypotheses`.
        brain: (K, H, W), non-zero inside; None takes where T1 or FLAIR exceeds background.
        batch: slices at a time.
    """
    device = device_of(model)
    inside: NDArray[np.bool_] = np.any(condition > -1, axis=0) if brain is None else brain > 0
    noise = torch.randn(1, 1, *condition.shape[2:], generator=torch_generator(seed, "hypotheses")).to(device)
    enhancing, non_enhancing = (np.full(inside.shape, -1, dtype=np.float32) for _ in range(2))
    tumour = np.zeros(inside.shape, dtype=np.float32)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    for start in range(0, len(occupied), batch):
        rows = occupied[start : start + batch]
        images = torch.from_numpy(np.ascontiguousarray(condition[:, rows].transpose(1, 0, 2, 3))).to(device)
        with autocast(device):
            drawn = draw_hypotheses(model, images, noise.expand(len(rows), -1, -1, -1), schedule, steps)
        for volume, picture in ((enhancing, drawn.enhancing), (non_enhancing, drawn.non_enhancing)):
            volume[rows] = np.where(inside[rows], _plane(picture), np.float32(-1))
        tumour[rows] = np.where(inside[rows], _plane(torch.sigmoid(drawn.tumour_logits.float())), np.float32(0))
    return HypothesesVolume(enhancing, non_enhancing, tumour)


@torch.inference_mode()
def consistency(model: Callable[[Tensor], Tensor], t1: Slices, flair: Slices, t1gd: Slices, batch: int = 64) -> Slices:
    """Return, per slice, the identifier's probability that this T1Gd agrees with T1 and FLAIR, (n,).

    Args:
        model: (B, 3, H, W) of T1, FLAIR, T1Gd to logits (B,).
        t1, flair, t1gd: (n, H, W) in [-1, 1].
        batch: slices at a time.
    """
    device = device_of(model)
    stack = torch.from_numpy(np.stack([t1, flair, t1gd], axis=1).astype(np.float32, copy=False))
    with autocast(device):
        logits = [model(part.to(device)).float().cpu() for part in torch.split(stack, batch)] if len(stack) else []
    probabilities: Slices = torch.sigmoid(torch.cat(logits)).numpy() if logits else np.zeros(0, dtype=np.float32)
    return probabilities


def _plane(images: Tensor) -> Slices:
    plane: Slices = images[:, 0].float().cpu().numpy()
    return plane
