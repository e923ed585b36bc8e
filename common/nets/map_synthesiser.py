"""The network that draws a map (CBV above all) from any subset of a patient's sequences, and the critic it may play.

Radiology 308(2):e222471: an encoder of 16-32-64 channels, six residual blocks, a decoder of 32-16-1, 3 x 3 kernels in
plane, instance norm; beside it a discriminator of five layers, 16-32-64-128-1, 4 x 4 kernels. The paper trains one
network for each of the 31 subsets of five sequences. Here one serves them all: what is missing is hidden, and a code of
what is there scales and shifts every norm. (As constant channels it would be lost: instance norm removes a constant.)
One departure at every size: the decoder doubles by nearest neighbour before its convolutions, since transposed ones of
3 x 3 kernels and stride 2 left a checkerboard. And one at `tiny`: the encoder's maps are added to the decoder's, since
on its coarse grid a quarter of the resolution, which is all that the paper passes on, showed as blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.doubling import double
from common.nets.embeddings import Modulation

HIDDEN = -1.0
"""What stands in the place of a sequence that is not there: background, as in the cache."""


@dataclass(frozen=True)
class MapShape:
    """Channels of the encoder's three levels, residual blocks behind them, and whether its maps reach the decoder."""

    widths: tuple[int, int, int]
    blocks: int
    skips: bool


MAP_SHAPES = {"tiny": MapShape((16, 32, 48), 3, skips=True), "paper": MapShape((16, 32, 64), 6, skips=False)}
CRITIC_WIDTHS = (16, 32, 64, 128)
CRITIC_HALVINGS = 3


class ModulatedConv(nn.Module):
    """A 3 x 3 convolution and a norm scaled and shifted by what is available; at first alike for every subset.

    Drawn as other layers are, the first scales would differ by subset as much as the features themselves.
    """

    def __init__(self, before: int, after: int, code: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride, padding=1)
        self.modulation = Modulation(after, code)
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W') under code (B, E)."""
        out: Tensor = self.modulation(self.convolution(x), code)
        return out


class MapResidual(nn.Module):
    """x plus two modulated 3 x 3 convolutions of it."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first, self.second = ModulatedConv(channels, channels, code), ModulatedConv(channels, channels, code)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W) under code (B, E)."""
        out: Tensor = x + self.second(F.relu(self.first(x, code)), code)
        return out


class MapDrawer(nn.Module):
    """Encoder, residual blocks, decoder; H and W must be multiples of 4."""

    def __init__(self, shape: MapShape, inputs: int) -> None:
        super().__init__()
        fine, middle, deep = shape.widths
        self.encoder = nn.ModuleList(
            ModulatedConv(before, after, inputs, stride)
            for before, after, stride in ((inputs, fine, 1), (fine, middle, 2), (middle, deep, 2))
        )
        self.blocks = nn.ModuleList(MapResidual(deep, inputs) for _ in range(shape.blocks))
        self.decoder = nn.ModuleList(ModulatedConv(a, b, inputs) for a, b in ((deep, middle), (middle, fine)))
        self.out = nn.Conv2d(fine, 1, 3, padding=1)
        self.skips = shape.skips

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 1, H, W) under code (B, inputs)."""
        passed: list[Tensor] = []
        for layer in self.encoder:
            x = F.relu(layer(x, code))
            passed.append(x)
        for block in self.blocks:
            x = block(x, code)
        for layer, finer in zip(self.decoder, (passed[1], passed[0]), strict=True):
            x = F.relu(layer(double(x), code))
            x = x + finer if self.skips else x
        out: Tensor = self.out(x)
        return out


@dataclass(frozen=True)
class Judgement:
    """What the critic makes of a picture.

    Attributes:
        features: of each layer but the last, (B, C, h, w), fine first.
        logits: that each patch is real, (B, 1, h, w).
    """

    features: tuple[Tensor, ...]
    logits: Tensor


class MapCritic(nn.Module):
    """Five 4 x 4 convolutions; the first and the last go without norm, for after one the grey level is no longer seen
    by what follows, and the other has a single channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        before = (channels, *CRITIC_WIDTHS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2 if number < CRITIC_HALVINGS else 1, padding=1)
            for number, (a, b) in enumerate(zip(before, (*CRITIC_WIDTHS, 1), strict=True))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(width, width, affine=False) for width in CRITIC_WIDTHS[1:])

    def forward(self, picture: Tensor) -> Judgement:
        """Judge pictures (B, C, H, W), H and W at least 32."""
        first, *inner, last = self.convolutions
        features = [F.leaky_relu(first(picture), 0.2)]
        for convolution, norm in zip(inner, self.norms, strict=True):
            features.append(F.leaky_relu(norm(convolution(features[-1])), 0.2))
        return Judgement(tuple(features), last(features[-1]))


class MapSynthesiser(nn.Module):
    """Drawer and, where the objective needs one, critic, which are federated as one model.

    Args:
        size: of the drawer; the critic is the paper's at every size.
        inputs: number of sequences that may be given, in an order that the caller keeps.
        critic_channels: of the pictures that the critic sees; None for no critic.
    """

    COMPILED_PARTS = ("drawer",)  # the critic is also called with its weights detached

    def __init__(self, size: Literal["tiny", "paper"], inputs: int, critic_channels: int | None = None) -> None:
        super().__init__()
        self.drawer = MapDrawer(MAP_SHAPES[size], inputs)
        self.critic = None if critic_channels is None else MapCritic(critic_channels)

    def forward(self, images: Tensor, available: Tensor) -> Tensor:
        """Draw the map.

        Args:
            images: (B, inputs, H, W) in [-1, 1]; whatever stands in a channel that is not available has no effect.
            available: (B, inputs) bool.
        Returns:
            (B, 1, H, W), nominally in [-1, 1], not clipped.
        """
        drawn: Tensor = self.drawer(visible(images, available), available.to(images.dtype))
        return drawn


def visible(images: Tensor, available: Tensor) -> Tensor:
    """Return images (B, C, H, W) with background in the channels that are not available, (B, C) bool."""
    return torch.where(available[:, :, None, None], images, HIDDEN)
