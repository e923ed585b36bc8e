"""The network that draws a map (CBV above all) from any subset of a patient's sequences, and the critic it may play.

Radiology 308(2):e222471: an encoder of 16-32-64 channels, six residual blocks, a decoder of 32-16-1, 3 x 3 kernels in
plane, instance norm; beside it a discriminator of five layers, 16-32-64-128-1, 4 x 4 kernels. The paper trains one
network for each of the 31 subsets of five sequences. Here one serves them all: what is missing is hidden, and a code of
what is there scales and shifts every norm. (As constant channels it would be lost: instance norm removes a constant.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.embeddings import Modulation

HIDDEN = -1.0
"""What stands in the place of a sequence that is not there: background, as in the cache."""


@dataclass(frozen=True)
class MapShape:
    """Channels of the encoder's three levels, and how many residual blocks follow them."""

    widths: tuple[int, int, int]
    blocks: int


MAP_SHAPES = {"tiny": MapShape((16, 32, 48), 3), "paper": MapShape((16, 32, 64), 6)}
CRITIC_WIDTHS = (16, 32, 64, 128)
CRITIC_HALVINGS = 3


class ModulatedConv(nn.Module):
    """A convolution, a norm scaled and shifted by what is available, and ReLU where asked."""

    def __init__(self, convolution: nn.Module, channels: int, code: int, rectified: bool = True) -> None:
        super().__init__()
        self.convolution, self.rectified = convolution, rectified
        self.modulation = Modulation(channels, code)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W') under code (B, E)."""
        out: Tensor = self.modulation(self.convolution(x), code)
        return F.relu(out) if self.rectified else out


class MapResidual(nn.Module):
    """x plus two modulated 3 x 3 convolutions of it."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first = ModulatedConv(nn.Conv2d(channels, channels, 3, padding=1), channels, code)
        self.second = ModulatedConv(nn.Conv2d(channels, channels, 3, padding=1), channels, code, rectified=False)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W) under code (B, E)."""
        out: Tensor = x + self.second(self.first(x, code), code)
        return out


class MapDrawer(nn.Module):
    """Encoder, residual blocks, decoder; H and W must be multiples of 4."""

    def __init__(self, shape: MapShape, inputs: int) -> None:
        super().__init__()
        fine, middle, deep = shape.widths

        def down(before: int, after: int, stride: int) -> ModulatedConv:
            return ModulatedConv(nn.Conv2d(before, after, 3, stride, padding=1), after, inputs)

        def up(before: int, after: int) -> ModulatedConv:
            return ModulatedConv(nn.ConvTranspose2d(before, after, 3, 2, padding=1, output_padding=1), after, inputs)

        self.layers = nn.ModuleList(
            [
                *(down(inputs, fine, 1), down(fine, middle, 2), down(middle, deep, 2)),
                *(MapResidual(deep, inputs) for _ in range(shape.blocks)),
                *(up(deep, middle), up(middle, fine)),
            ]
        )
        self.out = nn.Conv2d(fine, 1, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 1, H, W) under code (B, inputs)."""
        for layer in self.layers:
            x = layer(x, code)
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
