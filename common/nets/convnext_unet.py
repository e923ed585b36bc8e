"""A ConvNeXt-UNet in the Swin-UNet's place: UMMGAT tried one and found it on a par (npj Precis Onc 9:384)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.blocks import AdaIN
from common.nets.styled_unet import StyledUNet


@dataclass(frozen=True)
class ConvNextSize:
    """Side of the patch of pixels that the finest level takes as one position; channels and blocks, finest first."""

    patch: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]


CONVNEXT_SIZES = {
    "tiny": ConvNextSize(patch=4, widths=(64, 128), blocks=(1, 2)),
    "paper": ConvNextSize(patch=2, widths=(96, 192, 384, 768), blocks=(2, 2, 3, 2)),
}


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7 convolution, norm, and an MLP four times as wide, with a residual (Liu 2022).

    The norm is AdaIN instead of layer norm: that is where the style enters. Layer scale is left out; the levels have
    too few blocks to need it.
    """

    def __init__(self, channels: int, style_size: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = AdaIN(channels, style_size)
        self.widen = nn.Conv2d(channels, 4 * channels, 1)
        self.narrow = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Transform x (B, C, H, W) under style (B, S)."""
        out: Tensor = x + self.narrow(F.gelu(self.widen(self.norm(self.look(x), style))))
        return out


class ConvNextLevel(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, channels: int, blocks: int, style_size: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvNextBlock(channels, style_size) for _ in range(blocks))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Transform x (B, C, H, W) under style (B, S)."""
        for block in self.blocks:
            x = block(x, style)
        return x


def convnext_unet(size: str, style_size: int) -> StyledUNet:
    """Return the ConvNeXt-UNet of `size` for styles of `style_size` values; every level of it is told the style."""
    shape = CONVNEXT_SIZES[size]

    def make_level(number: int, style: int | None) -> ConvNextLevel:
        return ConvNextLevel(shape.widths[number], shape.blocks[number], style_size)

    return StyledUNet(shape.patch, shape.widths, style_size, make_level, styled_encoder=True)
