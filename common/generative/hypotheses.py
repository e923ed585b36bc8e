"""Post-gadolinium T1 under both hypotheses about the blood-brain barrier, drawn from one noise (CBSI)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from common.generative.ddim import sample
from common.generative.noise_schedule import NoiseSchedule


class Synthesised(Protocol):
    """What a conditional network returns: image and whole-tumour logits, both (B, 1, H, W)."""

    @property
    def image(self) -> Tensor: ...

    @property
    def tumour_logits(self) -> Tensor: ...


class Synthesiser(Protocol):
    """(x_t, t, condition, enhancing) → image and tumour; `enhancing` is (B,) int64, 1 for a disrupted barrier."""

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor) -> Synthesised: ...


@dataclass(frozen=True)
class Hypotheses:
    """Both pictures of the same slices, in [-1, 1], (B, 1, H, W) each.

    Attributes:
        enhancing: T1Gd if the barrier is disrupted (δ⁺).
        non_enhancing: T1Gd if it is intact (δ⁻).
        tumour_logits: whole-tumour logits of the last sampling step, mean of both hypotheses.
    """

    enhancing: Tensor
    non_enhancing: Tensor
    tumour_logits: Tensor


@torch.no_grad()
def draw_hypotheses(
    model: Synthesiser, condition: Tensor, noise: Tensor, schedule: NoiseSchedule, steps: int
) -> Hypotheses:
    """Draw both hypotheses in one batch from the same noise, so that they differ by the label alone.

    Args:
        model: predicts the image; called with 2B slices.
        condition: T1 and FLAIR, (B, 2, H, W) in [-1, 1].
        noise: standard normal, (B, 1, H, W).
        schedule: the schedule the model was trained with.
        steps: DDIM steps.
    """
    count = noise.shape[0]
    enhancing = torch.cat([torch.ones(count), torch.zeros(count)]).to(noise.device, torch.int64)
    both = torch.cat([condition, condition])
    logits = torch.zeros_like(noise)

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal logits
        drawn = model(x_t, t, both, enhancing)
        logits = (drawn.tumour_logits[:count] + drawn.tumour_logits[count:]) / 2
        return drawn.image.float().clamp(-1, 1)

    images = sample(predict, torch.cat([noise, noise]), schedule, steps)
    return Hypotheses(images[:count], images[count:], logits.float())
