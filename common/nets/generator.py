"""The UMMGAT generator: a Swin-UNet whose decoder is modulated by a style code (npj Precis Onc 9:384)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from common.nets.blocks import ConvBlock, PatchExpanding, PatchMerging, SwinBlock


@dataclass(frozen=True)
class GeneratorSize:
    """Widths of the levels from full resolution down: `stem` levels are convolutional, `widths` are Swin levels.

    Two stem levels bring the Swin levels to a quarter of the resolution, as the 4 x 4 patches of Swin-UNet do, but
    keep the detail that a lone patch embedding would lose.
    """

    stem: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: int
    head_channels: int
    window: int


GENERATOR_SIZES = {
    "tiny": GeneratorSize(stem=(16, 32), widths=(64, 128), blocks=2, head_channels=32, window=4),
    "paper": GeneratorSize(stem=(48, 96), widths=(96, 192, 384, 768), blocks=2, head_channels=32, window=6),
}


CURVE_RATE = 0.1
"""Slows the tone curve: each of its knots moves every pixel beyond it, and at the rate of the rest it bursts."""


class Level(nn.Module):
    """The blocks of one resolution: a residual convolution block, or Swin blocks with every second one shifted."""

    def __init__(self, channels: int, size: GeneratorSize, swin: bool, style_size: int | None) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvBlock(channels, channels, style_size)]
        if swin:
            heads = channels // size.head_channels
            blocks = [
                SwinBlock(channels, heads, size.window, shifted=bool(number % 2), style_size=style_size)
                for number in range(size.blocks)
            ]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Transform x (B, C, H, W), under style (B, S) in the decoder."""
        for block in self.blocks:
            x = block(x, style)
        return x


class ToneCurve(nn.Module):
    """Bends the greys of a slice by one piecewise linear curve, chosen by what is seen and by the style wanted.

    `y = x + sum_k b_k relu(x - c_k)` with fixed knots c_k over [-1, 1]: most of what tells one sequence from another is
    such a curve, which convolutions on normalised features learn late. It starts as the identity and keeps -1, the
    background.
    """

    def __init__(self, features: int, style_size: int, knots: int = 16) -> None:
        super().__init__()
        self.choose = nn.Sequential(nn.Linear(features + style_size, 64), nn.ReLU(), nn.Linear(64, knots))
        nn.init.zeros_(self.choose[2].weight)  # type: ignore[arg-type]
        self.register_buffer("knots", torch.linspace(-1, 1, knots + 1)[:-1].view(1, knots, 1, 1), persistent=False)

    def forward(self, image: Tensor, content: Tensor, style: Tensor) -> Tensor:
        """Bend image (B, 1, H, W) under content (B, C) and style (B, S)."""
        bends = CURVE_RATE * self.choose(torch.cat([content, style.to(content.dtype)], dim=1)).float()
        steps = (image - self.get_buffer("knots")).relu()
        return image + torch.einsum("bk,bkhw->bhw", bends, steps)[:, None]


class SwinUNetGenerator(nn.Module):
    """Draws a slice anew in the style of another domain.

    Encoder levels use plain instance norm, decoder levels AdaIN. The output is the input under a tone curve plus a
    learnt difference; both start at nothing: an untrained generator copies, and a domain as itself costs nothing.
    """

    def __init__(self, size: GeneratorSize, style_size: int) -> None:
        super().__init__()
        channels = (*size.stem, *size.widths)
        swin = [False] * len(size.stem) + [True] * len(size.widths)
        down = list(pairwise(channels))
        self.embed = nn.Conv2d(1, channels[0], 3, padding=1)
        self.encode = nn.ModuleList(Level(c, size, s, None) for c, s in zip(channels, swin, strict=True))
        self.merge = nn.ModuleList(PatchMerging(a, b) for a, b in down)
        self.decode = nn.ModuleList(Level(c, size, s, style_size) for c, s in zip(channels, swin, strict=True))
        self.expand = nn.ModuleList(PatchExpanding(b, a) for a, b in down)
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in down)
        self.tone = ToneCurve(channels[-1], style_size)
        self.draw = nn.Conv2d(channels[0], 1, 1)
        nn.init.zeros_(self.draw.weight)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Return image (B, 1, H, W) in [-1, 1] redrawn under style (B, S); H and W are multiples of 2**(levels - 1)."""
        x = self.encode[0](self.embed(image), None)
        skips = []
        for merge, level in zip(self.merge, list(self.encode)[1:], strict=True):
            skips.append(x)
            x = level(merge(x), None)
        toned = self.tone(image, x.mean((2, 3)), style)
        x = self.decode[-1](x, style)
        for number in reversed(range(len(skips))):
            x = self.join[number](torch.cat([self.expand[number](x), skips[number]], dim=1))
            x = self.decode[number](x, style)
        out: Tensor = toned + self.draw(x).float()
        return out
