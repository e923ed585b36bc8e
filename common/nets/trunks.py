"""What sequence encoder and discriminator see a picture with: convolutions from pixels to a coarse map of features."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
"""Of the leaky ReLUs, as in StarGAN-v2."""


class ConvTrunk(nn.Module):
    """Strided convolutions: the small form."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.width = widths[-1]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in zip((1, *widths[:-1]), widths, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, C, H', W')."""
        x = image
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return x


class HalvingBlock(nn.Module):
    """Residual block without norms that halves the map by averaging (StarGAN-v2); the sum keeps its variance."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels_in, channels_in, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1, bias=False) if channels_in != channels_out else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/2, W/2), odd sides rounded up."""
        y = _halve(self.conv_1(F.leaky_relu(x, SLOPE)))
        y = self.conv_2(F.leaky_relu(y, SLOPE))
        out: Tensor = (y + _halve(x if self.skip is None else self.skip(x))) / math.sqrt(2)
        return out


class ResidualTrunk(nn.Module):
    """StarGAN-v2's trunk: a 3 x 3 convolution, halving blocks, a 4 x 4 convolution.

    The last one is padded, so that slices of any size pass; StarGAN-v2's takes maps of 4 x 4 alone.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.width = widths[-1]
        self.embed = nn.Conv2d(1, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(HalvingBlock(a, b) for a, b in pairwise(widths)))
        self.gather = nn.Conv2d(widths[-1], widths[-1], 4, padding=2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, C, H', W')."""
        x = F.leaky_relu(self.blocks(self.embed(image)), SLOPE)
        return F.leaky_relu(self.gather(x), SLOPE)


def make_trunk(widths: tuple[int, ...], *, residual: bool) -> ConvTrunk | ResidualTrunk:
    """Return a trunk of these widths, finest first."""
    return ResidualTrunk(widths) if residual else ConvTrunk(widths)


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)
