"""The identifier of CBSI: is a drawn T1Gd consistent with the T1 and FLAIR that it was drawn from?"""

from __future__ import annotations

from typing import Literal

from monai.networks.nets import EfficientNetBN
from torch import Tensor, nn

INPUTS = 3
HIDDEN = 32


class Identifier(nn.Module):
    """(B, 3, H, W) T1, FLAIR, T1Gd^δ' → logits (B,) of self-consistency, δ' = δ (Nat Commun 17:2162).

    `paper` is MONAI's EfficientNet-b0 without weights from elsewhere, `tiny` a small CNN for a CPU.
    """

    def __init__(self, size: Literal["tiny", "paper"] = "tiny") -> None:
        super().__init__()
        self.net = (
            small_cnn((16, 32, 64))
            if size == "tiny"
            else EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=INPUTS, num_classes=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a slice."""
        logits: Tensor = self.net(x)
        return logits[:, 0]


def small_cnn(widths: tuple[int, ...]) -> nn.Sequential:
    """Return 3 x 3 convolutions with group norm and ReLU, each level halving the map, averaged, and two linear layers.

    Group norm of few groups keeps the strength of an enhancement, which instance norm would divide away. Consistency is
    an agreement of two facts, enhancement drawn and evidence for it: hence the hidden layer.
    """
    layers: list[nn.Module] = []
    before = INPUTS
    for width in widths:
        layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.ReLU()]
        before = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )
