"""Building blocks of the UMMGAT networks: AdaIN, window attention, patch merging and expanding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaIN(nn.Module):
    """Adaptive instance normalisation: `(1 + scale(s)) * norm(x) + shift(s)` (Huang & Belongie 2017, StarGAN-v2).

    A zero style vector through zero-initialised weights gives plain instance norm.
    """

    def __init__(self, channels: int, style_size: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_size, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Modulate x (B, C, H, W) by style (B, S)."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = F.instance_norm(x) * (1 + scale) + shift
        return out


class PlainNorm(nn.Module):
    """Instance norm with learnt scale and shift, called like AdaIN; it ignores the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Normalise x (B, C, H, W)."""
        out: Tensor = self.norm(x)
        return out


def make_norm(channels: int, style_size: int | None) -> nn.Module:
    """Return AdaIN where a style size is given, plain instance norm otherwise."""
    return PlainNorm(channels) if style_size is None else AdaIN(channels, style_size)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside (shifted) windows with a learnt relative position bias (Swin, Liu 2021).

    The map is padded to whole windows; padded positions are kept out of the softmax, and so are, after a shift,
    positions that were not neighbours.
    """

    def __init__(self, channels: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = window // 2 if shifted else 0
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        steps = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = steps[:, :, None] - steps[:, None, :] + window - 1
        self.register_buffer("offset", offset[0] * (2 * window - 1) + offset[1], persistent=False)
        self._masks: dict[tuple[int, int], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows of x (B, C, H, W) and return the same shape."""
        batch, channels, height, width = x.shape
        side, heads = self.window, self.heads
        x = F.pad(x, (0, -width % side, 0, -height % side))
        rows, columns = x.shape[2] // side, x.shape[3] // side
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(2, 3))
        windows = x.view(batch, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        tokens = windows.reshape(batch * rows * columns, side * side, channels)
        qkv = self.qkv(tokens).view(-1, side * side, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        bias = self._bias(height, width, qkv.dtype)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=bias.repeat(batch, 1, 1, 1))
        tokens = self.out(attended.transpose(1, 2).reshape(tokens.shape))
        x = tokens.view(batch, rows, columns, side, side, channels).permute(0, 5, 1, 3, 2, 4)
        x = x.reshape(batch, channels, rows * side, columns * side)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(2, 3))
        return x[:, :, :height, :width]

    def _bias(self, height: int, width: int, dtype: torch.dtype) -> Tensor:
        """Return position bias plus mask, (windows, heads, N, N)."""
        offset = self.get_buffer("offset")
        bias = self.position_bias[offset].permute(2, 0, 1)[None]
        return (bias + self._mask(height, width).to(bias.device)[:, None]).to(dtype)

    def _mask(self, height: int, width: int) -> Tensor:
        """Return 0 where two positions of a window may attend to each other and -100 elsewhere, (windows, N, N)."""
        if (height, width) not in self._masks:
            side = self.window
            rows, columns = -(-height // side), -(-width // side)
            zone = torch.full((rows * side, columns * side), -1)
            zone[:height, :width] = 0
            zone = zone.roll((-self.shift, -self.shift), dims=(0, 1))
            wrapped_row = torch.arange(rows * side) >= rows * side - self.shift
            wrapped_column = torch.arange(columns * side) >= columns * side - self.shift
            band = wrapped_row[:, None].long() + 2 * wrapped_column[None, :].long()
            zone = torch.where(zone == 0, band, zone)
            zone = zone.view(rows, side, columns, side).permute(0, 2, 1, 3).reshape(rows * columns, side * side)
            self._masks[height, width] = (zone[:, :, None] != zone[:, None, :]).float() * -100.0
        return self._masks[height, width]


class SwinBlock(nn.Module):
    """Norm, window attention, norm, MLP, each with a residual; the norms are AdaIN where a style size is given."""

    def __init__(self, channels: int, heads: int, window: int, shifted: bool, style_size: int | None) -> None:
        super().__init__()
        self.norm_1 = make_norm(channels, style_size)
        self.attention = WindowAttention(channels, heads, window, shifted)
        self.norm_2 = make_norm(channels, style_size)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Transform x (B, C, H, W), under style (B, S) where the block has one."""
        x = x + self.attention(self.norm_1(x, style))
        out: Tensor = x + self.mlp(self.norm_2(x, style))
        return out


class PatchMerging(nn.Module):
    """Halve the map: 2 x 2 neighbours become channels, a linear layer mixes them (Swin)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/2, W/2)."""
        out: Tensor = self.mix(F.pixel_unshuffle(x, 2))
        return out


class PatchExpanding(nn.Module):
    """Double the map: a linear layer writes 2 x 2 neighbours as channels, which are then laid out (Swin-UNet)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels_in, 4 * channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', 2H, 2W)."""
        return F.pixel_shuffle(self.mix(x), 2)


class ConvBlock(nn.Module):
    """Pre-activation residual block of two 3 x 3 convolutions, its norms AdaIN where a style size is given."""

    def __init__(self, channels_in: int, channels_out: int, style_size: int | None) -> None:
        super().__init__()
        self.norm_1 = make_norm(channels_in, style_size)
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm_2 = make_norm(channels_out, style_size)
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Transform x (B, C, H, W) to (B, C', H, W)."""
        y = self.conv_1(F.relu(self.norm_1(x, style)))
        y = self.conv_2(F.relu(self.norm_2(y, style)))
        out: Tensor = self.skip(x) + y
        return out
