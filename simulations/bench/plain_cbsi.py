"""The plain form of the published CBSI network: the baseline of the bench, never trained or released.

Written from the description of the published code (Nat Commun 17:2162): T1, FLAIR and x_t into a 7 x 7 convolution of
32; levels of 32, 32, 64 and 128 channels over a middle of 256, each of two residual blocks (weight-standardised 3 x 3
convolution, group norm of 8, scale and shift by time and label, SiLU) and *linear* attention at the level's own
resolution; full cosine attention in the middle alone; the tumour head is three 32-wide convolutions on the synthesis
decoder. Eager, fp32 and contiguous: as it is written, nothing is made fast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.conditional_unet import Synthesis
from common.nets.embeddings import sinusoid

STEM, WIDTHS, MIDDLE = 32, (32, 32, 64, 128), 256
CODE, HEADS, HEAD_WIDTH, GROUPS = 128, 4, 32, 8
COSINE_SCALE = 10.0


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 for each output channel (Qiao 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W)."""
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        variance = self.weight.var((1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(x, (self.weight - mean) * (variance + 1e-5).rsqrt(), self.bias, padding=1)


class PlainBlock(nn.Module):
    """Two standardised convolutions with group norm and SiLU, the first modulated, plus the input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = (
            StandardisedConv(channels, channels_out, 3) for channels in (channels_in, channels_out)
        )
        self.norm_1, self.norm_2 = (nn.GroupNorm(GROUPS, channels_out) for _ in range(2))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(CODE, 2 * channels_out))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W) under code (B, E)."""
        scale, shift = self.modulation(code)[:, :, None, None].chunk(2, dim=1)
        y = F.silu(self.norm_1(self.conv_1(x)) * (1 + scale) + shift)
        out: Tensor = F.silu(self.norm_2(self.conv_2(y))) + self.skip(x)
        return out


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position, with a learnt scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.scale


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the positions: keys meet values first (Shen 2021); with norm and residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * HEADS * HEAD_WIDTH, 1, bias=False)
        self.out = nn.Sequential(nn.Conv2d(HEADS * HEAD_WIDTH, channels, 1), ChannelNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        batch, _, height, width = x.shape
        query, key, value = self.qkv(self.norm(x)).view(batch, 3, HEADS, HEAD_WIDTH, height * width).unbind(1)
        query = query.softmax(dim=2) / HEAD_WIDTH**0.5
        context = torch.einsum("bhdn,bhen->bhde", key.softmax(dim=3), value / (height * width))
        attended = torch.einsum("bhde,bhdn->bhen", context, query)
        out: Tensor = x + self.out(attended.reshape(batch, HEADS * HEAD_WIDTH, height, width))
        return out


class CosineAttention(nn.Module):
    """Attention over all positions, the similarity being the cosine times ten; with norm and residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * HEADS * HEAD_WIDTH, 1, bias=False)
        self.out = nn.Conv2d(HEADS * HEAD_WIDTH, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        batch, _, height, width = x.shape
        query, key, value = self.qkv(self.norm(x)).view(batch, 3, HEADS, HEAD_WIDTH, height * width).unbind(1)
        likeness = torch.einsum("bhdi,bhdj->bhij", F.normalize(query, dim=2), F.normalize(key, dim=2))
        attended = torch.einsum("bhij,bhdj->bhdi", (likeness * COSINE_SCALE).softmax(dim=3), value)
        out: Tensor = x + self.out(attended.reshape(batch, HEADS * HEAD_WIDTH, height, width))
        return out


class PlainLevel(nn.Module):
    """Two blocks, each given one passed map where the level is of the decoder, and linear attention."""

    def __init__(self, channels_in: int, channels_out: int, passed: int) -> None:
        super().__init__()
        self.block_1 = PlainBlock(channels_in + passed, channels_out)
        self.block_2 = PlainBlock(channels_out + passed, channels_out)
        self.attention = LinearAttention(channels_out)

    def forward(self, x: Tensor, code: Tensor, passed: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the maps after the first block and after attention; each block takes the last of the maps passed."""
        first = self.block_1(_join(x, passed), code)
        return first, self.attention(self.block_2(_join(first, passed), code))


class PlainCbsi(nn.Module):
    """μ(x_t, t, condition, δ) → T1Gd and whole-tumour logits, called like `ConditionalUNet`.

    H and W must be multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__()
        after = (*WIDTHS[1:], MIDDLE)
        self.time = nn.Sequential(nn.Linear(STEM, CODE), nn.GELU(), nn.Linear(CODE, CODE))
        self.label = nn.Embedding(2, CODE)
        self.stem = nn.Conv2d(3, STEM, 7, padding=3)
        self.encoder = nn.ModuleList(PlainLevel(width, width, 0) for width in WIDTHS)
        self.down = nn.ModuleList(
            nn.Conv2d(4 * width, wider, 1) if number < 3 else nn.Conv2d(width, wider, 3, padding=1)
            for number, (width, wider) in enumerate(zip(WIDTHS, after, strict=True))
        )
        self.middle_1, self.middle_2 = (PlainBlock(MIDDLE, MIDDLE) for _ in range(2))
        self.middle_attention = CosineAttention(MIDDLE)
        self.decoder = nn.ModuleList(
            PlainLevel(wider, wider, width) for width, wider in zip(WIDTHS, after, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(wider, width, 3, padding=1) for width, wider in zip(WIDTHS, after, strict=True)
        )
        self.last = PlainBlock(2 * STEM, STEM)
        self.out = nn.Conv2d(STEM, 1, 1)
        self.tumour = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(STEM, STEM, 3, padding=1), nn.ReLU()) for _ in range(3)), nn.Conv2d(STEM, 1, 1)
        )

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor | None = None
    ) -> Synthesis:
        """Predict the image from x_t; see `ConditionalUNet`. It knows no availability: all conditions are real."""
        code = self.time(sinusoid(t, STEM)) + self.label(enhancing)
        x = self.stem(torch.cat([condition, x_t], dim=1))
        first = x
        passed: list[Tensor] = []
        for number, (level, down) in enumerate(zip(self.encoder, self.down, strict=True)):
            maps = level(x, code, [])
            passed += maps
            x = down(F.pixel_unshuffle(maps[1], 2) if number < 3 else maps[1])
        x = self.middle_2(self.middle_attention(self.middle_1(x, code)), code)
        for number in reversed(range(len(WIDTHS))):
            _, x = self.decoder[number](x, code, passed)
            x = self.up[number](F.interpolate(x, scale_factor=2, mode="nearest") if number else x)
        x = self.last(torch.cat([x, first], dim=1), code)
        return Synthesis(self.out(x).tanh(), self.tumour(x))


def _join(x: Tensor, passed: list[Tensor]) -> Tensor:
    return torch.cat([x, passed.pop()], dim=1) if passed else x
