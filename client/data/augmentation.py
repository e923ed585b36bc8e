"""Changes of a batch that leave it a plausible picture of a brain: all channels and masks of a slice alike."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from client.data.dataset import SliceBatch

LEFT_RIGHT = -2
"""H, the in-plane axis that grows to the patient's right."""


def mirror_some(batch: SliceBatch, generator: torch.Generator) -> SliceBatch:
    """Return the batch with about every second slice mirrored left to right, so that few patients look like more."""
    chosen = torch.rand(batch.case_index.shape, generator=generator) < 0.5

    def mirrored(stack: Tensor) -> Tensor:
        rows = chosen.view(-1, *[1] * (stack.dim() - 1))
        return torch.where(rows, stack.flip(LEFT_RIGHT), stack)

    return replace(
        batch,
        images={sequence: mirrored(image) for sequence, image in batch.images.items()},
        brain=mirrored(batch.brain),
        labels=mirrored(batch.labels),
    )
