"""Segmentation of whole tumour, tumour core and enhancing tumour from the four structural sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.nn import functional as F

from common.sequences import STRUCTURAL

CHANNELS = ("WT", "TC", "ET")
BACKGROUND = -1.0
RARE = -3.0
"""First bias of the logits: tumour is about one voxel in twenty."""


@dataclass(frozen=True)
class SegmenterShape:
    """Size of a Segmenter.

    Attributes:
        patch: side of the square of pixels that the first level takes as one position; its pixels become channels.
        filters: channels of the U-Net's levels; each level after the first halves the map.
    """

    patch: int
    filters: tuple[int, ...]


SHAPES = {
    "tiny": SegmenterShape(2, (32, 48, 64, 96)),
    "paper": SegmenterShape(1, (32, 64, 128, 256, 512, 512)),
}


class Segmenter(nn.Module):
    """2-D U-Net in nnU-Net's manner (MONAI's DynUNet, instance norm): (B, 4, H, W) → logits (B, 3, H, W).

    Channels in: T1, T1Gd, T2, FLAIR in [-1, 1]; out: WT, TC, ET. Slices whose sides the levels cannot halve evenly are
    padded with background inside.
    """

    def __init__(self, size: Literal["tiny", "paper"] = "tiny") -> None:
        super().__init__()
        filters, patch = SHAPES[size].filters, SHAPES[size].patch
        levels = len(filters)
        self.patch, self.multiple = patch, patch * 2 ** (levels - 1)
        self.net = DynUNet(
            spatial_dims=2,
            in_channels=len(STRUCTURAL) * patch**2,
            out_channels=len(CHANNELS) * patch**2,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(filters),
            norm_name=("instance", {"affine": True}),
        )
        nn.init.constant_(self.net.output_block.conv.conv.bias, RARE)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; x must follow the order of `common.sequences.STRUCTURAL`."""
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), value=BACKGROUND)
        logits: Tensor = F.pixel_shuffle(self.net(F.pixel_unshuffle(padded, self.patch)), self.patch)
        return logits[:, :, :height, :width]
