"""The UMMGAT discriminator: real or drawn, one head per domain on a shared trunk."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.style import DomainHeads
from common.nets.trunks import ConvTrunk, ResidualTrunk
from common.sequences import Domain


class Discriminator(nn.Module):
    """D_d(x): the logit that a picture is a real one of domain d, averaged over patches.

    The trunk keeps a coarse map; each domain's head is linear on it, so that the mean of the patch logits is the
    logit of the mean features.
    """

    def __init__(self, domains: tuple[Domain, ...], trunk: ConvTrunk | ResidualTrunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.mix = nn.Conv2d(trunk.width, trunk.width, 1)
        self.out = DomainHeads(domains, trunk.width, 1)

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        """Judge image (B, 1, H, W) as one of domain (B,); returns logits (B,)."""
        x = F.leaky_relu(self.mix(self.trunk(image)), 0.2).mean((2, 3))
        logit: Tensor = self.out(x, domain).squeeze(1)
        return logit
