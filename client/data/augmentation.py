"""Changes of a batch that leave it a plausible picture of a brain: all channels and masks of a slice alike."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from client.data.dataset import SliceBatch

LEFT_RIGHT = -2
"""H, the in-plane axis that grows to the patient's right."""

BACKGROUND = -1.0
LARGEST_TURN_DEGREES = 15.0
LARGEST_ZOOM = 1.15


def mirror_some(batch: SliceBatch, generator: torch.Generator, axes: tuple[int, ...] = (LEFT_RIGHT,)) -> SliceBatch:
    """Return the batch with about every second slice mirrored along each of `axes`, counted from the end.

    Left to right by default, so that few patients look like more.
    """
    for axis in axes:
        batch = mirror(batch, choose_half(batch, generator), axis)
    return batch


def choose_half(batch: SliceBatch, generator: torch.Generator) -> Tensor:
    """Return about every second row, (B,) bool."""
    return torch.rand(batch.case_index.shape, generator=generator) < 0.5


def mirror(batch: SliceBatch, chosen: Tensor, axis: int = LEFT_RIGHT) -> SliceBatch:
    """Return the batch with its `chosen` rows, (B,) bool, mirrored along `axis`, counted from the end."""
    mirrored = partial(mirror_rows, chosen=chosen, axis=axis)
    images = {sequence: mirrored(image) for sequence, image in batch.images.items()}
    return replace(batch, images=images, brain=mirrored(batch.brain), labels=mirrored(batch.labels))


def mirror_rows(stack: Tensor, chosen: Tensor, axis: int = LEFT_RIGHT) -> Tensor:
    """Return (B, …) with its `chosen` rows, (B,) bool, mirrored along `axis`."""
    return torch.where(chosen.view(-1, *[1] * (stack.dim() - 1)), stack.flip(axis), stack)


def move_some(batch: SliceBatch, generator: torch.Generator, axes: tuple[int, ...] = (LEFT_RIGHT,)) -> SliceBatch:
    """Return the batch mirrored along `axes` by lot, and each slice turned and zoomed a little about its middle.

    Images are interpolated linearly, masks and labels by nearest neighbour; what comes in from outside is background.
    For inputs only: a target would be blurred.
    """
    mirrored = mirror_some(batch, generator, axes)
    height, width = mirrored.brain.shape[2:]
    theta = draw_maps(len(mirrored.brain), height / width, generator)
    grid = F.affine_grid(theta, list(mirrored.brain.shape), align_corners=False)

    def moved(stack: Tensor, mode: str) -> Tensor:
        return F.grid_sample(stack, grid, mode=mode, padding_mode="zeros", align_corners=False)

    brain = moved(mirrored.brain.float(), "nearest") > 0.5
    return replace(
        mirrored,
        images={
            sequence: torch.where(brain, moved(image - BACKGROUND, "bilinear") + BACKGROUND, BACKGROUND)
            for sequence, image in mirrored.images.items()
        },
        brain=brain,
        labels=moved(mirrored.labels[:, None].float(), "nearest")[:, 0].round().to(mirrored.labels.dtype),
    )


def draw_maps(count: int, aspect: float, generator: torch.Generator) -> Tensor:
    """Draw maps from output to input positions, (B, 2, 3), in `affine_grid`'s coordinates: x along W, y along H.

    `aspect` is H / W: the coordinates run from -1 to 1 on both axes, and a turn must not shear.
    """
    chance = torch.rand(2, count, generator=generator) * 2 - 1
    turn = chance[0] * math.radians(LARGEST_TURN_DEGREES)
    zoom = torch.exp(chance[1] * math.log(LARGEST_ZOOM))
    cosine, sine, nothing = zoom * turn.cos(), zoom * turn.sin(), torch.zeros(count)
    along_width = torch.stack([cosine, -sine * aspect, nothing], dim=1)
    along_height = torch.stack([sine / aspect, cosine, nothing], dim=1)
    return torch.stack([along_width, along_height], dim=1)
