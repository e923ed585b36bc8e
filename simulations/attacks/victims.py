"""The networks whose updates are inverted: one linear layer, a small CNN without pooling, and our own identifier."""

from __future__ import annotations

from torch import Tensor, nn

WIDTH = 16


class LinearVictim(nn.Module):
    """One linear layer on all pixels: its update of one patient is the patient's image."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels * height * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → logits (B,)."""
        logits: Tensor = self.layer(x.flatten(1))
        return logits[:, 0]


class SmallCnn(nn.Module):
    """Two convolutions of stride 2 and a linear layer that knows where things are; H and W multiples of 4."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(WIDTH * (height // 4) * (width // 4), 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → logits (B,)."""
        logits: Tensor = self.net(x)
        return logits[:, 0]
