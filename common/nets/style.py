"""Style codes: from a picture (sequence encoder) or from a domain's number (mapper), one head a domain."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.nets.trunks import ConvTrunk, ResidualTrunk
from common.sequences import Domain


class DomainHeads(nn.Module):
    """One linear layer per domain; each row of a batch goes through its own domain's.

    The layers live in `heads`, keyed by `Domain.key`, so that each belongs to its domain's parameter group.
    """

    def __init__(self, domains: tuple[Domain, ...], features_in: int, features_out: int) -> None:
        super().__init__()
        self.keys = tuple(domain.key for domain in domains)
        self.heads = nn.ModuleDict({key: nn.Linear(features_in, features_out) for key in self.keys})

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Map x (B, F) to (B, F') by the head that domain (B,) numbers."""
        used, position = torch.unique(domain, return_inverse=True)
        layers = [self.heads[self.keys[number]] for number in used.tolist()]
        weight = torch.stack([layer.weight for layer in layers])[position]  # type: ignore[misc]
        bias = torch.stack([layer.bias for layer in layers])[position]  # type: ignore[misc]
        return torch.einsum("bof,bf->bo", weight, x) + bias


class SequenceEncoder(nn.Module):
    """E_d(x): the style code of a picture as seen by domain d's head.

    Mean and spread of the features over the picture are kept: a style is a distribution of greys, not a place.
    """

    def __init__(self, domains: tuple[Domain, ...], trunk: ConvTrunk | ResidualTrunk, style_size: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mix = nn.Linear(2 * trunk.width, trunk.width)
        self.out = DomainHeads(domains, trunk.width, style_size)

    def features(self, image: Tensor) -> Tensor:
        """Return what the heads see of image (B, 1, H, W), whatever its domain: (B, F)."""
        x = self.trunk(image).flatten(2)
        x = torch.cat([x.mean(2), (x.var(2, unbiased=False) + 1e-6).sqrt()], dim=1)
        return F.leaky_relu(self.mix(x), 0.2)

    def forward(self, image: Tensor, domain: Tensor) -> Tensor:
        """Encode image (B, 1, H, W) under domain (B,) to a code (B, S)."""
        code: Tensor = self.out(self.features(image), domain)
        return code


class Mapper(nn.Module):
    """M_d(z): a style code of domain d without a picture; z = 0 is the domain's typical one.

    `depth` layers are shared and the domain's own is linear. StarGAN-v2 gives each domain three more layers of its own;
    here, where a domain's layers travel from its site to all others in every round, they stay small.
    """

    def __init__(self, domains: tuple[Domain, ...], latent_size: int, width: int, depth: int, style_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        sides = (latent_size, *[width] * depth)
        layers = [layer for a, b in pairwise(sides) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.trunk = nn.Sequential(*layers)
        self.out = DomainHeads(domains, width, style_size)

    def forward(self, latent: Tensor, domain: Tensor) -> Tensor:
        """Map latent (B, Z) under domain (B,) to a code (B, S)."""
        code: Tensor = self.out(self.trunk(latent), domain)
        return code
