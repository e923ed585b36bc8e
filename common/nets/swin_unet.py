"""The Swin-UNet of the UMMGAT generator (npj Precis Onc 9:384), AdaIN in its norms."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from common.nets.blocks import ConvBlock, SwinBlock
from common.nets.styled_unet import StyledUNet


@dataclass(frozen=True)
class SwinSize:
    """Widths of the levels from the finest down: `stem` levels are convolutional, `widths` are Swin levels.

    Attributes:
        patch: side of the square of pixels that the finest level takes as one position.
        stem, widths: channels of the levels; each level after the first halves the map.
        blocks: Swin blocks a level.
        head_channels, window: channels of an attention head, side of an attention window.
        styled_encoder: AdaIN in the encoder as in the decoder; plain instance norm there otherwise.
    """

    patch: int
    stem: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: int
    head_channels: int
    window: int
    styled_encoder: bool


SWIN_SIZES = {
    "tiny": SwinSize(patch=4, stem=(64,), widths=(128,), blocks=2, head_channels=32, window=4, styled_encoder=False),
    "paper": SwinSize(
        patch=1, stem=(48, 96), widths=(96, 192, 384, 768), blocks=2, head_channels=32, window=6, styled_encoder=True
    ),
}
"""`paper` has AdaIN at every level, encoder included, and windows of 6, into which a slice of 176 x 176, padded to
192, divides on its four Swin levels. `tiny` was tuned without styles in its encoder, and is kept so."""


class SwinLevel(nn.Module):
    """The blocks of one resolution: a residual convolution block, or Swin blocks with every second one shifted."""

    def __init__(self, channels: int, size: SwinSize, swin: bool, style_size: int | None) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvBlock(channels, channels, style_size)]
        if swin:
            heads = channels // size.head_channels
            blocks = [
                SwinBlock(channels, heads, size.window, shifted=bool(number % 2), style_size=style_size)
                for number in range(size.blocks)
            ]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Transform x (B, C, H, W), under style (B, S) where the level has one."""
        for block in self.blocks:
            x = block(x, style)
        return x


def swin_unet(size: str, style_size: int) -> StyledUNet:
    """Return the Swin-UNet of `size` for styles of `style_size` values."""
    shape = SWIN_SIZES[size]
    channels = (*shape.stem, *shape.widths)

    def make_level(number: int, style: int | None) -> SwinLevel:
        return SwinLevel(channels[number], shape, number >= len(shape.stem), style)

    return StyledUNet(shape.patch, channels, style_size, make_level, styled_encoder=shape.styled_encoder)
