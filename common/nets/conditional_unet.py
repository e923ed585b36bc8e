"""The network of all synthesisers: draws T1Gd from T1 and FLAIR, or other sequences, under a stated label.

CBSI, Nat Commun 17:2162. Encoder of four levels, each of two residual blocks modulated by time and label, with
self-attention at low resolution, downsampling but in the last; bottleneck; mirrored decoder with nearest-neighbour
upsampling; and a whole-tumour decoder on the shared encoder. Departures: quadratic attention only where the map is at
most 53 x 53 (for 424 x 424 slices; above, it would cost 20 times the rest); a network that draws T1Gd adds its output
to T1, since most of the brain does not enhance; and it is told which conditions are real, filled or missing. Flow
matching and the end-to-end method of seed 001 use the same network; theirs was a U-Net of 32 channels and two residual
blocks a level, without a tumour decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.generative.flow import TIME_SCALE, gaussian_velocity
from common.nets.attention import attend
from common.nets.doubling import double
from common.nets.embeddings import REAL, AvailabilityEmbedding, Modulation, TimeLabelEmbedding
from common.nets.instance_norm import InstanceNorm, fast_in_channels_last

SMALLEST_SPREAD = 0.02
"""Least spread of a flow's pixel, in greys of [-1, 1]: a smaller one makes the flow too stiff for few steps."""


@dataclass(frozen=True)
class UNetShape:
    """Widths of a ConditionalUNet.

    Attributes:
        patch: side of the square of pixels that the first level takes as one position; its pixels become channels.
        widths: channels of the encoder's levels.
        attention: which levels attend.
        middle: channels of the bottleneck, which always attends.
        heads: attention heads.
        sinusoid, code: channels of the time's sinusoid and of the time-label code.
        segmentation: channels of the whole-tumour decoder.
    """

    patch: int
    widths: tuple[int, ...]
    attention: tuple[bool, ...]
    middle: int
    heads: int
    sinusoid: int
    code: int
    segmentation: int


SHAPES = {
    "tiny": UNetShape(2, (24, 32, 48, 64), (False, False, True, True), 64, 4, 32, 64, 16),
    "paper": UNetShape(1, (32, 64, 128, 224), (False, False, False, True), 256, 4, 32, 128, 32),
}


@dataclass(frozen=True)
class Synthesis:
    """What the network draws, (B, 1, H, W) each.

    Attributes:
        image: what the network was trained to say: T1Gd, its difference from T1, a noise or a velocity; not clipped.
        tumour_logits: whole-tumour logits.
    """

    image: Tensor
    tumour_logits: Tensor


class ResidualBlock(nn.Module):
    """3 x 3 convolution, modulated norm, ReLU, dropout, 3 x 3 convolution, norm, ReLU, plus the input."""

    def __init__(self, channels_in: int, channels_out: int, code: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulation = Modulation(channels_out, code)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm_2 = InstanceNorm(channels_out)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W) under code (B, E)."""
        y = self.dropout(F.relu(self.modulation(self.conv_1(x), code)))
        y = F.relu(self.norm_2(self.conv_2(y)))
        out: Tensor = self.skip(x) + y
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions of a map, with a residual; zero-initialised to the identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        batch, channels, height, width = x.shape
        tokens = self.qkv(self.norm(x)).permute(0, 2, 3, 1)  # fused attention needs a head's channels side by side
        tokens = tokens.reshape(batch, height * width, 3, self.heads, channels // self.heads)
        query, key, value = tokens.permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value).transpose(1, 2)
        attended = attended.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        attended = attended if fast_in_channels_last(attended) else attended.contiguous()
        out: Tensor = x + self.out(attended)
        return out


class Level(nn.Module):
    """Two residual blocks and, where asked, self-attention."""

    def __init__(self, channels_in: int, channels_out: int, code: int, heads: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels_in, channels_out, code, dropout)
        self.block_2 = ResidualBlock(channels_out, channels_out, code, dropout)
        self.attention = nn.Identity() if heads is None else SelfAttention(channels_out, heads)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W) under code (B, E)."""
        out: Tensor = self.attention(self.block_2(self.block_1(x, code), code))
        return out


class TumourDecoder(nn.Module):
    """Whole-tumour logits from the deepest encoder map: as many times upsample, 3 x 3 convolution, ReLU as the
    encoder went down, then a 1 x 1 convolution."""

    def __init__(self, channels_in: int, channels: int, doublings: int, patch: int) -> None:
        super().__init__()
        inputs = (channels_in, *[channels] * (doublings - 1))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in inputs)
        self.out = nn.Conv2d(channels, patch**2, 1)
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 1, H, W)."""
        for convolution in self.convolutions:
            x = F.relu(convolution(double(x)))
        return F.pixel_shuffle(self.out(x), self.patch)


class ConditionalUNet(nn.Module):
    """f(x_t, t, condition, δ, availability) → a picture and whole-tumour logits; knows nothing of schedules or losses.

    H and W must be multiples of 8 times the patch.

    The paper's network. Its published code has another: weight-standardised convolutions with group norm and SiLU,
    linear attention at every level, the tumour's head on the synthesis decoder, x_0 through tanh (ours is clamped as it
    is drawn). None of that is a setting; the bench holds that form, written anew, as the one to be faster than
    (`simulations/bench/plain_cbsi.py`).
    """

    def __init__(
        self,
        size: Literal["tiny", "paper"] = "tiny",
        conditions: int = 2,
        slices: int = 1,
        base: int | None = 0,
        labelled: bool = True,
        dropout: float = 0.0,
        flow_spread: float | None = None,
    ) -> None:
        """Build the network.

        Args:
            size: one of `SHAPES`.
            conditions: number C of condition sequences.
            slices: neighbouring slices S of each, odd; the middle one is the one that is drawn.
            base: the condition to whose middle slice the output is added; None where it is not to look like one.
            labelled: whether δ has any influence.
            dropout: share of features dropped in training, once a residual block.
            flow_spread: makes the output a flow's velocity, that of a Gaussian in each pixel whose mean and spread the
                network says; untrained, the mean is the base (or zero) and the spread this.
        """
        super().__init__()
        shape = SHAPES[size]
        widths, code = shape.widths, shape.code
        heads = [shape.heads if attends else None for attends in shape.attention]
        self.embedding = TimeLabelEmbedding(shape.sinusoid, code, labelled)
        self.patch, self.conditions, self.flow_spread = shape.patch, conditions, flow_spread
        self.base = None if base is None else base * slices + slices // 2
        self.stem = nn.Conv2d((1 + conditions * slices) * shape.patch**2, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            Level(before, after, code, head, dropout)
            for before, after, head in zip((widths[0], *widths), widths, heads, strict=False)
        )
        self.middle = Level(widths[-1], shape.middle, code, shape.heads, dropout)
        below = (shape.middle, *reversed(widths))
        self.decoder = nn.ModuleList(
            Level(deep + width, width, code, head, dropout)
            for deep, width, head in zip(below, reversed(widths), reversed(heads), strict=False)
        )
        self.out = nn.Conv2d(widths[0], (1 if flow_spread is None else 2) * shape.patch**2, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))
        self.tumour = TumourDecoder(widths[-1], shape.segmentation, len(widths) - 1, shape.patch)
        self.availability = AvailabilityEmbedding(conditions, code)

    def forward(
        self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor | None = None
    ) -> Synthesis:
        """Say what lies in x_t.

        Args:
            x_t: noised picture, (B, 1, H, W).
            t: time as the family counts it, (B,), 0 … 1000.
            condition: sequence by sequence, each with its neighbouring slices, (B, C · S, H, W) in [-1, 1].
            enhancing: label δ, (B,) int64, 1 where the barrier is taken as disrupted.
            availability: what each condition is, (B, C) int64; None says that all are real.
        """
        if availability is None:
            availability = torch.full((len(x_t), self.conditions), REAL, device=x_t.device)
        code = self.embedding(t, enhancing) + self.availability(availability)
        x = F.pixel_unshuffle(torch.cat([x_t, condition], dim=1), self.patch)
        x = self.stem(x)
        x = x.contiguous(memory_format=torch.channels_last) if fast_in_channels_last(x) else x
        passed: list[Tensor] = []
        for number, level in enumerate(self.encoder):
            x = level(F.avg_pool2d(x, 2) if number else x, code)
            passed.append(x)
        tumour_logits = self.tumour(x)
        x = self.middle(x, code)
        for number, level in enumerate(self.decoder):
            x = double(x) if number else x
            x = level(torch.cat([x, passed.pop()], dim=1), code)
        drawn = F.pixel_shuffle(self.out(x), self.patch)
        mean = drawn[:, :1] if self.base is None else condition[:, self.base, None] + drawn[:, :1]
        if self.flow_spread is None:
            return Synthesis(mean, tumour_logits)
        spread = (self.flow_spread * drawn[:, 1:].float().exp()).clamp(SMALLEST_SPREAD, 1)
        return Synthesis(gaussian_velocity(x_t, t / TIME_SCALE, mean, spread), tumour_logits)
