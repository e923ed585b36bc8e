"""Both hypotheses about the blood-brain barrier over a whole volume, and how well each agrees with the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.inference.device import device_of
from client.inference.drawing_plan import DrawingPlan
from client.precision import half_precision
from common.generative.hypotheses import Synthesiser, draw_hypotheses
from common.nets.embeddings import REAL
from common.seeding import torch_generator

Slices = NDArray[np.float32]


@dataclass(frozen=True)
class HypothesesVolume:
    """Both pictures of one case, (K, H, W) each.

    Attributes:
        enhancing: T1Gd in [-1, 1] if the barrier is disrupted, the mean of all samples.
        non_enhancing: T1Gd in [-1, 1] if it is intact, likewise.
        tumour_probability: the synthesiser's own whole-tumour probability, in [0, 1].
        enhancing_sd: standard deviation of the samples, in the units of `enhancing`; None where one was drawn.
        non_enhancing_sd: likewise.
        samples: how many were drawn.
    """

    enhancing: Slices
    non_enhancing: Slices
    tumour_probability: Slices
    enhancing_sd: Slices | None = None
    non_enhancing_sd: Slices | None = None
    samples: int = 1


@torch.inference_mode()
def hypotheses_volume(
    model: Synthesiser,
    plan: DrawingPlan,
    condition: Slices,
    seed: int,
    brain: NDArray[np.uint8] | None = None,
    availability: tuple[int, ...] | None = None,
    batch: int = 16,
) -> HypothesesVolume:
    """Draw T1Gd with and without enhancement for every slice that shows brain.

    A sample's one noise slice serves the whole volume and both hypotheses, so that the two differ by the label alone
    and neighbouring slices by anatomy alone. Nothing depends on `batch`, nor the first sample on how many follow.

    Args:
        model: the released synthesiser.
        plan: how it is asked.
        condition: the plan's conditions, (C, K, H, W) in [-1, 1], real or filled, -1 where missing.
        seed: of the noise; the stream is called `hypotheses`.
        brain: (K, H, W), non-zero inside; None takes where any condition exceeds background.
        availability: what each condition is (`common.nets.embeddings`); None says that all are real.
        batch: pictures at a time.
    """
    device = device_of(model)
    inside: NDArray[np.bool_] = np.any(condition > -1, axis=0) if brain is None else brain > 0
    generator = torch_generator(seed, "hypotheses")
    noise = torch.stack([torch.randn(1, *condition.shape[2:], generator=generator) for _ in range(plan.samples)])
    codes = torch.tensor((REAL,) * len(condition) if availability is None else availability)
    pictures = np.full((2, *inside.shape), -1, dtype=np.float32)
    spreads = np.zeros((2, *inside.shape), dtype=np.float32)
    tumour = np.zeros(inside.shape, dtype=np.float32)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    at_once = max(1, batch // plan.samples)
    for start in range(0, len(occupied), at_once):
        rows = occupied[start : start + at_once]
        images = torch.from_numpy(with_neighbours(condition, rows, plan.slices)).to(device)
        drawn, probability = _draw_samples(model, plan, images, codes.to(device), noise.to(device), batch)
        pictures[:, rows] = np.where(inside[rows], drawn.mean(0).cpu().numpy(), np.float32(-1))
        if plan.samples > 1:
            spreads[:, rows] = np.where(inside[rows], drawn.std(0).cpu().numpy(), np.float32(0))
        tumour[rows] = np.where(inside[rows], probability.cpu().numpy(), np.float32(0))
    if plan.samples == 1:
        return HypothesesVolume(pictures[0], pictures[1], tumour)
    return HypothesesVolume(pictures[0], pictures[1], tumour, spreads[0], spreads[1], plan.samples)


def with_neighbours(condition: Slices, rows: NDArray[np.intp], slices: int) -> Slices:
    """Return the conditions' slices around `rows`, (n, C · S, H, W), background beyond the volume's ends.

    Args:
        condition: (C, K, H, W).
        rows: slice numbers, (n,).
        slices: S, odd.
    """
    reach = slices // 2
    padded = np.pad(condition, ((0, 0), (reach, reach), (0, 0), (0, 0)), constant_values=-1)
    around = np.stack([padded[:, rows + offset] for offset in range(slices)], axis=1)  # C S n H W
    stacked: Slices = around.reshape(-1, *around.shape[2:]).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(stacked, dtype=np.float32)


def _draw_samples(
    model: Synthesiser, plan: DrawingPlan, images: Tensor, codes: Tensor, noise: Tensor, batch: int
) -> tuple[Tensor, Tensor]:
    """Return N samples of both hypotheses, (N, 2, n, H, W), and the mean tumour probability, (n, H, W).

    Args:
        images: (n, C · S, H, W).
        codes: (C,).
        noise: (N, 1, H, W).
    """
    samples, count = len(noise), len(images)
    pairs = torch.cartesian_prod(torch.arange(samples), torch.arange(count)).to(images.device)
    pictures, logits = [], []
    for part in torch.split(pairs, batch):
        shown = images[part[:, 1]]
        base = None if plan.base is None else shown[:, plan.base, None]
        with half_precision(images.device):
            drawn = draw_hypotheses(
                model, shown, codes.expand(len(shown), -1), noise[part[:, 0]], plan.sampler, base=base
            )
        pictures.append(torch.cat([drawn.enhancing, drawn.non_enhancing], dim=1).float())
        logits.append(drawn.tumour_logits[:, 0])
    height, width = images.shape[2:]
    stack = torch.cat(pictures).view(samples, count, 2, height, width).transpose(1, 2)
    return stack, torch.cat(logits).view(samples, count, height, width).mean(0).sigmoid()


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
    with half_precision(device):
        logits = [model(part.to(device)).float().cpu() for part in torch.split(stack, batch)] if len(stack) else []
    probabilities: Slices = torch.sigmoid(torch.cat(logits)).numpy() if logits else np.zeros(0, dtype=np.float32)
    return probabilities
