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
    """Channels of the U-Net's levels; each level after the first halves the map."""

    filters: tuple[int, ...]


SHAPES = {
    "tiny": SegmenterShape((16, 32, 64, 96)),
    "paper": SegmenterShape((32, 64, 128, 256, 512, 512)),
}


class Segmenter(nn.Module):
    """2-D U-Net in nnU-Net's manner (MONAI's DynUNet, instance norm): (B, 4, H, W) → logits (B, 3, H, W).

    Channels in: T1, T1Gd, T2, FLAIR in [-1, 1]; out: WT, TC, ET. Slices whose sides the levels cannot halve evenly are
    padded with background inside.
    """

    def __init__(self, size: Literal["tiny", "paper"] = "tiny") -> None:
        super().__init__()
        filters = SHAPES[size].filters
        levels = len(filters)
        self.multiple = 2 ** (levels - 1)
        self.net = DynUNet(
            spatial_dims=2,
            in_channels=len(STRUCTURAL),
            out_channels=len(CHANNELS),
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
        logits: Tensor = self.net(padded)
        return logits[:, :, :height, :width]
