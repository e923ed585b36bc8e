"""The frame of every UMMGAT generator: a U-Net over patches of pixels whose levels are told the style."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from common.nets.blocks import PatchExpanding, PatchMerging

LevelMaker = Callable[[int, int | None], nn.Module]
"""From a level's number (0 the finest) and the size of the style, None for a level without one, to its blocks: called
with features (B, C, H, W) and style (B, S), they return features of the same shape."""


class StyledUNet(nn.Module):
    """Encoder, skip connections and decoder; what a level consists of is the backbone's own affair.

    Attributes:
        patch: side of the square of pixels that the finest level takes as one position; its pixels become channels.
        width: channels of the finest level, and of what comes out.
        multiple: pixels by which the sides of a slice must be divisible.
    """

    def __init__(
        self, patch: int, channels: tuple[int, ...], style_size: int, make_level: LevelMaker, *, styled_encoder: bool
    ) -> None:
        super().__init__()
        numbers, down = range(len(channels)), list(pairwise(channels))
        self.patch, self.width, self.multiple = patch, channels[0], patch * 2 ** (len(channels) - 1)
        self.embed = nn.Conv2d(patch**2, channels[0], 3, padding=1)
        self.encode = nn.ModuleList(make_level(number, style_size if styled_encoder else None) for number in numbers)
        self.merge = nn.ModuleList(PatchMerging(a, b) for a, b in down)
        self.decode = nn.ModuleList(make_level(number, style_size) for number in numbers)
        self.expand = nn.ModuleList(PatchExpanding(b, a) for a, b in down)
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in down)

    def forward(self, patches: Tensor, style: Tensor) -> Tensor:
        """Map patches (B, patch * patch, H, W) under style (B, S) to features (B, width, H, W)."""
        x = self.encode[0](self.embed(patches), style)
        skips = []
        for merge, level in zip(self.merge, list(self.encode)[1:], strict=True):
            skips.append(x)
            x = level(merge(x), style)
        x = self.decode[-1](x, style)
        for number in reversed(range(len(skips))):
            x = self.join[number](torch.cat([self.expand[number](x), skips[number]], dim=1))
            x = self.decode[number](x, style)
        features: Tensor = x
        return features
