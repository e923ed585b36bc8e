"""Instance norm whose scale and shift differ from slice to slice, in the form that each device computes fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return `scale * norm(x) + shift`, norm making each channel of each slice mean 0 and variance 1.

    On a CPU in bf16 each slice is a batch norm of its own: of all forms in PyTorch the only one whose forward and
    backward pass are fast on channels-last maps (a group norm's backward pass is eight times slower there), and scale
    and shift cost no pass over the map. Elsewhere it is a group norm of one channel a group.

    Args:
        x: features (B, C, H, W), H W > 1.
        scale, shift: (B, C).
    """
    if not fast_in_channels_last(x):
        return F.group_norm(x, x.shape[1]) * scale[:, :, None, None] + shift[:, :, None, None]
    slices = zip(torch.split(x, 1), scale.float().unbind(), shift.float().unbind(), strict=True)
    return torch.cat([F.batch_norm(one, None, None, weight, bias, training=True) for one, weight, bias in slices])


def fast_in_channels_last(x: Tensor) -> bool:
    """Whether convolutions and norms of x on its device are faster on channels-last maps than on contiguous ones.

    On a CPU in bf16 they are; fp32 stays contiguous there, where sums are more exact. A GPU's layout is that of the
    weights.
    """
    return x.device.type == "cpu" and x.dtype is torch.bfloat16


class InstanceNorm(nn.Module):
    """Instance norm with learnt scale and shift, 1 and 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return instance_norm(x, self.weight.expand(len(x), -1), self.bias.expand(len(x), -1))
