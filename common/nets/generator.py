"""The UMMGAT generator: a Swin-UNet whose decoder is modulated by a style code (npj Precis Onc 9:384)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.blocks import ConvBlock, PatchExpanding, PatchMerging, SwinBlock

BACKGROUND = -1.0
KNOTS = 16
"""Greys, evenly from -1 to 1, at which tone curves and histograms have a value."""
LOUDNESS = 8.0
"""Weight of the slice's own code beside the style's; at 1 a network learns late to tell T2 from T1."""


@dataclass(frozen=True)
class GeneratorSize:
    """Widths of the levels from the finest down: `stem` levels are convolutional, `widths` are Swin levels.

    Attributes:
        patch: side of the square of pixels that the finest level takes as one position; its pixels become channels.
        stem, widths: channels of the levels; each level after the first halves the map.
        blocks: Swin blocks a level.
        head_channels, window: channels of an attention head, side of an attention window.
        detail: channels at full resolution.
    """

    patch: int
    stem: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: int
    head_channels: int
    window: int
    detail: int


GENERATOR_SIZES = {
    "tiny": GeneratorSize(patch=4, stem=(64,), widths=(128,), blocks=2, head_channels=32, window=4, detail=16),
    "paper": GeneratorSize(
        patch=1, stem=(48, 96), widths=(96, 192, 384, 768), blocks=2, head_channels=32, window=6, detail=48
    ),
}


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


class GreyHats(nn.Module):
    """Spreads each grey over its two nearest of `KNOTS` knots: (B, 1, H, W) in [-1, 1] to weights (B, KNOTS, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-1, 1, KNOTS).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the weights of the knots; they sum to 1 at every pixel within [-1, 1]."""
        away = (image - self.get_buffer("knots")).abs() * ((KNOTS - 1) / 2)
        return F.relu(1 - away)


class SourceHistogram(nn.Module):
    """Tells the style what it is to be drawn from: the histogram of the slice's greys, through a small network.

    Instance norm hides from the U-Net whether white matter came in bright or dark, and so whether a T1 is to become a
    T2 or a T2 is to stay one. The histogram says it at once.
    """

    def __init__(self, style_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(KNOTS + style_size, 2 * style_size), nn.ReLU(), nn.Linear(2 * style_size, style_size)
        )

    def forward(self, hats: Tensor, image: Tensor, style: Tensor) -> Tensor:
        """Return style (B, S) with the slice's own code added."""
        counts = (hats * (image > BACKGROUND)).sum(dim=(2, 3))
        share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
        out: Tensor = style + LOUDNESS * self.mlp(torch.cat([share * (KNOTS / 2), style], dim=1))
        return out


class DetailHead(nn.Module):
    """Joins what the U-Net says of each patch with the slice itself, pixel by pixel, under the style.

    The slice enters here at full resolution and as it is, not normalised: the U-Net decides how greys are to change,
    and need not carry them. It does so in two ways, which are added: by a tone curve of its own for each pixel, and by
    a convolution of features and slice. Both start as nothing.
    """

    def __init__(self, features: int, size: GeneratorSize, style_size: int) -> None:
        super().__init__()
        self.patch = size.patch
        self.curve = nn.Conv2d(features, KNOTS * size.patch**2, 1)
        self.spread = nn.Conv2d(features, size.detail * size.patch**2, 1)
        self.look = nn.Conv2d(1, size.detail, 3, padding=1)
        self.affine = nn.Linear(style_size, 2 * size.detail)
        self.draw = nn.Conv2d(size.detail, 1, 3, padding=1)
        for last in (self.curve, self.draw):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, image: Tensor, hats: Tensor, style: Tensor) -> Tensor:
        """Return the change of image (B, 1, H, W) that features (B, C, H / patch, W / patch) ask for.

        `hats` are the image's GreyHats, style (B, S).
        """
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        detail = F.pixel_shuffle(self.spread(features), self.patch) + self.look(image) * (1 + scale) + shift
        curve = F.pixel_shuffle(self.curve(features), self.patch)
        change: Tensor = self.draw(F.relu(detail)) + (curve * hats).sum(dim=1, keepdim=True)
        return change


class SwinUNetGenerator(nn.Module):
    """Draws a slice anew in the style of another domain.

    Encoder levels use plain instance norm, decoder levels AdaIN. The output is the input plus a learnt change that
    starts at nothing: an untrained generator copies, and a domain as itself costs nothing.
    """

    def __init__(self, size: GeneratorSize, style_size: int) -> None:
        super().__init__()
        channels = (*size.stem, *size.widths)
        swin = [False] * len(size.stem) + [True] * len(size.widths)
        down = list(pairwise(channels))
        self.patch, self.multiple = size.patch, size.patch * 2 ** (len(channels) - 1)
        self.embed = nn.Conv2d(size.patch**2, channels[0], 3, padding=1)
        self.encode = nn.ModuleList(Level(c, size, s, None) for c, s in zip(channels, swin, strict=True))
        self.merge = nn.ModuleList(PatchMerging(a, b) for a, b in down)
        self.decode = nn.ModuleList(Level(c, size, s, style_size) for c, s in zip(channels, swin, strict=True))
        self.expand = nn.ModuleList(PatchExpanding(b, a) for a, b in down)
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a, _ in down)
        self.hats, self.source = GreyHats(), SourceHistogram(style_size)
        self.head = DetailHead(channels[0], size, style_size)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Return image (B, 1, H, W) in [-1, 1] redrawn under style (B, S).

        Sides that the levels cannot halve evenly are padded with background inside.
        """
        height, width = image.shape[2:]
        image = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple), value=BACKGROUND)
        hats = self.hats(image)
        style = self.source(hats, image, style)
        x = self.encode[0](self.embed(F.pixel_unshuffle(image, self.patch)), None)
        skips = []
        for merge, level in zip(self.merge, list(self.encode)[1:], strict=True):
            skips.append(x)
            x = level(merge(x), None)
        x = self.decode[-1](x, style)
        for number in reversed(range(len(skips))):
            x = self.join[number](torch.cat([self.expand[number](x), skips[number]], dim=1))
            x = self.decode[number](x, style)
        out: Tensor = image + self.head(x, image, hats, style).float()
        return out[:, :, :height, :width]
