"""Post-gadolinium T1 under both hypotheses about the blood-brain barrier, drawn from one noise (CBSI)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from common.generative.samplers import Sampler


class Synthesised(Protocol):
    """What a conditional network returns: what it says of the picture, and whole-tumour logits, both (B, 1, H, W)."""

    @property
    def image(self) -> Tensor: ...

    @property
    def tumour_logits(self) -> Tensor: ...


class Synthesiser(Protocol):
    """(x_t, t, condition, enhancing, availability) → picture and tumour.

    `enhancing` is (B,) int64, 1 for a disrupted barrier; `availability` (B, C) int64 is that of
    `common.nets.embeddings`.
    """

    def __call__(
        self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor
    ) -> Synthesised: ...


@dataclass(frozen=True)
class Hypotheses:
    """Both pictures of the same slices, in [-1, 1], (B, 1, H, W) each.

    Attributes:
        enhancing: T1Gd if the barrier is disrupted (δ⁺).
        non_enhancing: T1Gd if it is intact (δ⁻).
        tumour_logits: whole-tumour logits of the last evaluation, mean of both hypotheses.
    """

    enhancing: Tensor
    non_enhancing: Tensor
    tumour_logits: Tensor


@torch.no_grad()
def draw_hypotheses(
    model: Synthesiser,
    condition: Tensor,
    availability: Tensor,
    noise: Tensor,
    sampler: Sampler,
    base: Tensor | None = None,
) -> Hypotheses:
    """Draw both hypotheses in one batch from the same noise, so that they differ by the label alone.

    Args:
        model: called with 2B slices.
        condition: (B, channels, H, W) in [-1, 1].
        availability: whether each condition is missing, real or filled, (B, C) int64.
        noise: standard normal, (B, 1, H, W).
        sampler: the one of the model's family.
        base: what the drawn difference is added to, (B, 1, H, W); None where the model draws T1Gd itself.
    """
    count = noise.shape[0]
    enhancing = torch.cat([torch.ones(count), torch.zeros(count)]).to(noise.device, torch.int64)
    both, codes = torch.cat([condition, condition]), torch.cat([availability, availability])
    logits = torch.zeros_like(noise)

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal logits
        drawn = model(x_t, t, both, enhancing, codes)
        logits = (drawn.tumour_logits[:count] + drawn.tumour_logits[count:]) / 2
        return drawn.image

    images = sampler(network, torch.cat([noise, noise]))
    if base is not None:
        images = (images + torch.cat([base, base])).clamp(-1, 1)
    return Hypotheses(images[:count], images[count:], logits.float())
