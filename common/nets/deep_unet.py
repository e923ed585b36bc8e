"""A U-Net in nnU-Net's manner with outputs at several levels, put together from MONAI's blocks.

MONAI's own DynUNet computes the same; it registers every tensor twice, so that its update would travel twice, and
enlarges the coarse outputs before anyone asks.
"""

from __future__ import annotations

from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from torch import Tensor, nn

from common.nets.segmenter_plan import UNetPlan

NORM = ("instance", {"affine": True})
SLOPE = 0.01
"""Of the blocks' leaky ReLU."""


class DeepUNet(nn.Module):
    """(B, C, …) → outputs (B, C', …) of the finest levels; each axis a multiple of `plan.multiple`."""

    def __init__(
        self, channels: int, classes: int, filters: tuple[int, ...], plan: UNetPlan, outputs: int, bias: float = 0.0
    ) -> None:
        """Build the levels of `plan`, with outputs, of first bias `bias`, at the `outputs` finest above the bottom."""
        super().__init__()
        axes, levels = len(plan.strides[0]), len(plan.strides)
        widths = (channels, *filters)
        self.down = nn.ModuleList(
            UnetBasicBlock(axes, widths[level], widths[level + 1], plan.kernels[level], plan.strides[level], NORM)
            for level in range(levels)
        )
        self.up = nn.ModuleList(
            UnetUpBlock(axes, filters[level + 1], filters[level], plan.kernels[level], 1, plan.strides[level + 1], NORM)
            for level in reversed(range(levels - 1))
        )
        heads = [UnetOutBlock(axes, filters[level], classes) for level in range(outputs)]
        self.outputs = nn.ModuleList(heads)
        self.apply(_initialise)
        for head in heads:
            nn.init.constant_(head.conv.conv.bias, bias)

    def forward(self, x: Tensor, outputs: int = 1) -> tuple[Tensor, ...]:
        """Return the outputs of the `outputs` finest levels, finest first, each at its own size."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        features: list[Tensor] = []
        for block in self.up:
            x = block(x, skips.pop())
            features.insert(0, x)
        return tuple(head(features[level]) for level, head in enumerate(self.outputs[:outputs]))


def _initialise(module: nn.Module) -> None:
    """He initialisation of every convolution, no bias."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
