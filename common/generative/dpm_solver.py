"""DPM-Solver++ (Lu 2022, arXiv:2211.01095, algorithm 2): DDIM's differential equation, followed at second order.

DDIM takes the image that the network finds for constant over a step. Here it changes along the straight line through
this step's image and the last one's, over the log-ratio λ_t = ln(α_t / σ_t) of signal to noise, α_t = √ᾱ_t. An
evaluation costs the same, and far fewer of them give the same picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.generative.ddim import Predict
from common.generative.noise_schedule import NoiseSchedule

LAST_SHARE = 0.01
"""The last evaluation is at this share of the T steps, where a hundred steps of DDIM make theirs."""


def sampling_steps(schedule: NoiseSchedule, count: int) -> tuple[int, ...]:
    """Return at most `count` of the T steps, falling from T - 1, evenly spaced in λ; fewer where T is that coarse.

    Raises ValueError unless 1 ≤ count ≤ T.
    """
    total = schedule.steps
    if not 1 <= count <= total:
        raise ValueError(f"{count} sampling steps of {total} diffusion steps")
    ratio = log_ratio(schedule)
    last = max(0, round(LAST_SHARE * total) - 1)
    wanted = torch.linspace(float(ratio[-1]), float(ratio[last]), count, dtype=torch.float64)
    nearest = (ratio[None] - wanted[:, None]).abs().argmin(1)
    return tuple(dict.fromkeys(nearest.tolist()))


def sample(predict: Predict, noise: Tensor, schedule: NoiseSchedule, steps: int) -> Tensor:
    """Draw images from noise (B, C, H, W); equal noise gives equal images.

    A step of width h = λ_t' - λ_t is x_t' = (σ_t' / σ_t) x_t + (α_t' - α_t σ_t' / σ_t) D, where D is this step's image
    and h / 2h_before of its difference to the one before; the first step is DDIM's. The image of the last evaluation is
    the result.

    Args:
        predict: the network.
        noise: standard normal.
        schedule: the schedule the network was trained with.
        steps: number of evaluations.
    """
    ratio, grid = log_ratio(schedule), sampling_steps(schedule, steps)
    x_t, image = noise, noise
    for number, step in enumerate(grid):
        t = torch.full((noise.shape[0],), step, dtype=torch.int64, device=noise.device)
        before, image = image, predict(x_t, t)
        if number + 1 < len(grid):
            line = image
            if number:
                width, width_before = ratio[grid[number + 1]] - ratio[step], ratio[step] - ratio[grid[number - 1]]
                line = image + float(width / width_before) / 2 * (image - before)
            following = torch.full_like(t, grid[number + 1])
            kept = schedule.noise_scale(following) / schedule.noise_scale(t)
            x_t = kept * x_t + (schedule.image_scale(following) - kept * schedule.image_scale(t)) * line
    return image


def log_ratio(schedule: NoiseSchedule) -> Tensor:
    """Return λ_t for every step t, (T,) float64 on the CPU, falling."""
    alpha_bar = schedule.alpha_bar.double().cpu()
    return (alpha_bar / (1 - alpha_bar)).log() / 2
