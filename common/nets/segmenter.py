"""Segmentation of whole tumour, tumour core and enhancing tumour from the four structural sequences."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.deep_unet import DeepUNet
from common.nets.segmenter_plan import SHAPES, Reading, Size, UNetPlan, even_plan
from common.sequences import STRUCTURAL

CHANNELS = ("WT", "TC", "ET")
BACKGROUND = -1.0
RARE = -3.0
"""First bias of the logits: tumour is about one voxel in twenty."""


class Segmenter(nn.Module):
    """U-Net in nnU-Net's manner: slices (B, 4, H, W) or patches (B, 4, K, H, W) → logits (B, 3, …).

    Channels in: T1, T1Gd, T2, FLAIR in [-1, 1]; out: WT, TC, ET. Sides that the levels cannot halve evenly are padded
    with background inside.

    Attributes:
        dimensions: 2 or 3.
        levels: outputs that training supervises: all but the coarsest and the bottom, or the finest alone.
        reading: how a volume is to be put through.
    """

    COMPILED_PARTS = ("net",)

    def __init__(
        self,
        size: Size = "tiny",
        plan: UNetPlan | None = None,
        reading: Reading | None = None,
        deep_supervision: bool = False,
    ) -> None:
        """Build the network of `size` for `plan`, by default the 2-D one that halves at every level."""
        super().__init__()
        plan = even_plan(len(SHAPES[size, 2].filters)) if plan is None else plan
        self.dimensions = len(plan.strides[0])
        self.reading = Reading() if reading is None else reading
        shape = SHAPES[size, 2 if self.dimensions == 2 else 3]
        self.square = shape.square
        in_plane = [side * shape.square for side in plan.multiple[-2:]]
        self.multiple = (*plan.multiple[:-2], *in_plane)
        self.levels = max(1, len(plan.strides) - 2) if deep_supervision else 1
        pixels = shape.square**2
        self.net = DeepUNet(len(STRUCTURAL) * pixels, len(CHANNELS) * pixels, shape.filters, plan, self.levels, RARE)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; x must follow the order of `common.sequences.STRUCTURAL`."""
        return self._outputs(x, 1)[0]

    def supervised(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every level that training supervises, finest first, each at its own size."""
        return self._outputs(x, self.levels)

    def _outputs(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        sides = x.shape[2:]
        margins = [-side % multiple for side, multiple in zip(sides, self.multiple, strict=True)]
        padded = F.pad(x, [each for margin in reversed(margins) for each in (0, margin)], value=BACKGROUND)
        found = []
        for logits in self.net(_fold(padded, self.square), count):
            unfolded = _unfold(logits, self.square)
            shares = zip(sides, padded.shape[2:], unfolded.shape[2:], strict=True)
            kept = [slice(math.ceil(side * level / whole)) for side, whole, level in shares]
            found.append(unfolded[:, :, *kept])
        return tuple(found)


def _fold(x: Tensor, square: int) -> Tensor:
    """Turn each in-plane square of pixels into channels of one position."""
    return _slices_apart(F.pixel_unshuffle(_slices_apart(x), square)) if square > 1 else x


def _unfold(x: Tensor, square: int) -> Tensor:
    """Turn channels back into squares of pixels, and smooth over them.

    Each pixel of a square has weights of its own, and the squares would show as a comb.
    """
    return _slices_apart(_smooth(F.pixel_shuffle(_slices_apart(x), square))) if square > 1 else x


def _slices_apart(x: Tensor) -> Tensor:
    """Swap C and K of (B, C, K, H, W), so that C stands before H and W as in slices (B, C, H, W)."""
    return x.transpose(1, 2).contiguous() if x.dim() == 5 else x


def _smooth(x: Tensor) -> Tensor:
    """Return x (…, H, W) under the binomial filter, two means of 2 x 2: a pattern of every other pixel vanishes."""
    planes = F.pad(x.flatten(0, -3)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(planes, 2, stride=1), 2, stride=1).view_as(x)
