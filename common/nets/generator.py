"""The UMMGAT generator: a styled U-Net of any kind, and the head that all kinds share (npj Precis Onc 9:384)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.convnext_unet import convnext_unet
from common.nets.styled_unet import StyledUNet
from common.nets.swin_unet import swin_unet

BACKGROUND = -1.0
KNOTS = 16
"""Greys, evenly from -1 to 1, at which tone curves and histograms have a value."""
LOUDNESS = 8.0
"""Weight of the slice's own code beside the style's; at 1 a network learns late to tell T2 from T1."""


BACKBONES = {"swin": swin_unet, "convnext": convnext_unet}
"""From a name in `[stages.generator]` to the U-Net of a size and a style's size."""
DETAIL = {"tiny": 16, "paper": 48}
"""Channels at full resolution."""


class GreyHats(nn.Module):
    """Spreads each grey over its two nearest of `KNOTS` knots: (B, 1, H, W) in [-1, 1] to weights (B, KNOTS, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-1, 1, KNOTS).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the weights of the knots; they sum to 1 at every pixel within [-1, 1]."""
        away = (image - self.get_buffer("knots")).abs() * ((KNOTS - 1) / 2)
        return F.relu(1 - away)


class SourceHistogram(nn.Module):
    """Tells the style what it is to be drawn from: the histogram of the slice's greys, through a small network.

    Instance norm hides from the U-Net whether white matter came in bright or dark, and so whether a T1 is to become a
    T2 or a T2 is to stay one. The histogram says it at once.
    """

    def __init__(self, style_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(KNOTS + style_size, 2 * style_size), nn.ReLU(), nn.Linear(2 * style_size, style_size)
        )

    def forward(self, hats: Tensor, image: Tensor, style: Tensor) -> Tensor:
        """Return style (B, S) with the slice's own code added."""
        counts = (hats * (image > BACKGROUND)).sum(dim=(2, 3))
        share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
        out: Tensor = style + LOUDNESS * self.mlp(torch.cat([share * (KNOTS / 2), style], dim=1))
        return out


class DetailHead(nn.Module):
    """Joins what the U-Net says of each patch with the slice itself, pixel by pixel, under the style.

    The slice enters here at full resolution and as it is, not normalised: the U-Net decides how greys are to change,
    and need not carry them. It does so in two ways, which are added: by a tone curve of its own for each pixel, and by
    a convolution of features and slice. Both start as nothing.
    """

    def __init__(self, features: int, patch: int, detail: int, style_size: int) -> None:
        super().__init__()
        self.patch = patch
        self.curve = nn.Conv2d(features, KNOTS * patch**2, 1)
        self.spread = nn.Conv2d(features, detail * patch**2, 1)
        self.look = nn.Conv2d(1, detail, 3, padding=1)
        self.affine = nn.Linear(style_size, 2 * detail)
        self.draw = nn.Conv2d(detail, 1, 3, padding=1)
        for last in (self.curve, self.draw):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, image: Tensor, hats: Tensor, style: Tensor) -> Tensor:
        """Return the change of image (B, 1, H, W) that features (B, C, H / patch, W / patch) ask for.

        `hats` are the image's GreyHats, style (B, S).
        """
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        detail = F.pixel_shuffle(self.spread(features), self.patch) + self.look(image) * (1 + scale) + shift
        curve = F.pixel_shuffle(self.curve(features), self.patch)
        change: Tensor = self.draw(F.relu(detail)) + (curve * hats).sum(dim=1, keepdim=True)
        return change


class Generator(nn.Module):
    """Draws a slice anew in the style of another domain.

    The output is the input plus a learnt change that starts at nothing: an untrained generator copies, and a domain as
    itself costs nothing.
    """

    def __init__(self, backbone: StyledUNet, detail: int, style_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.hats, self.source = GreyHats(), SourceHistogram(style_size)
        self.head = DetailHead(backbone.width, backbone.patch, detail, style_size)

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Return image (B, 1, H, W) in [-1, 1] redrawn under style (B, S).

        Sides that the levels cannot halve evenly are padded with background inside.
        """
        height, width = image.shape[2:]
        multiple = self.backbone.multiple
        image = F.pad(image, (0, -width % multiple, 0, -height % multiple), value=BACKGROUND)
        hats = self.hats(image)
        style = self.source(hats, image, style)
        features = self.backbone(F.pixel_unshuffle(image, self.backbone.patch), style)
        out: Tensor = image + self.head(features, image, hats, style).float()
        return out[:, :, :height, :width]


def make_generator(backbone: str, size: str, style_size: int) -> Generator:
    """Return the generator of `size` on the U-Net called `backbone`, for styles of `style_size` values."""
    return Generator(BACKBONES[backbone](size, style_size), DETAIL[size], style_size)
