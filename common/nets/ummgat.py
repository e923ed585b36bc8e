"""UMMGAT as one module: generator, sequence encoder, mapper and discriminator over a list of domains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.nets.discriminator import Discriminator
from common.nets.generator import make_generator
from common.nets.style import Mapper, SequenceEncoder
from common.nets.trunks import make_trunk
from common.sequences import Domain


@dataclass(frozen=True)
class StyleSize:
    """Sizes of style code and latent, of the mapper, and of the trunks of encoder and discriminator."""

    style: int
    latent: int
    mapper: int
    mapper_depth: int
    trunk: tuple[int, ...]
    residual: bool


STYLE_SIZES = {
    "tiny": StyleSize(style=32, latent=16, mapper=64, mapper_depth=2, trunk=(16, 32, 64, 96), residual=False),
    "paper": StyleSize(
        style=64, latent=16, mapper=512, mapper_depth=4, trunk=(64, 128, 256, 512, 512, 512, 512), residual=True
    ),
}
"""`paper` is StarGAN-v2's, on which UMMGAT builds. In millions of values, on four domains and their twins, its own in
brackets: generator 30.9 (33.6), encoder 21.6 (20.9), discriminator 21.1 (20.7), mapper 1.1 (2.4)."""


class Ummgat(nn.Module):
    """All four networks of the game, on the domains of a plan (images first, then their lesion twins).

    Attributes:
        domains: the domains in the order of their numbers.
    """

    COMPILED_PARTS = ("generator", "encoder")  # the discriminator's gradient is differentiated again, by R1

    def __init__(self, domains: tuple[Domain, ...], size: str, backbone: str = "swin") -> None:
        super().__init__()
        shape = STYLE_SIZES[size]
        self.domains = domains
        self.generator = make_generator(backbone, size, shape.style)
        self.encoder = SequenceEncoder(domains, make_trunk(shape.trunk, residual=shape.residual), shape.style)
        self.mapper = Mapper(domains, shape.latent, shape.mapper, shape.mapper_depth, shape.style)
        self.discriminator = Discriminator(domains, make_trunk(shape.trunk, residual=shape.residual))

    def number(self, domain: Domain) -> int:
        """Return the number of `domain`. Raises ValueError where the model does not know it."""
        return self.domains.index(domain)

    def translate(self, image: Tensor, target: Domain | Tensor, reference: Tensor | None = None) -> Tensor:
        """Redraw image (B, 1, H, W) as the target domain.

        Args:
            image: greys in [-1, 1].
            target: a domain of the model, or domain numbers (B,).
            reference: pictures of the target domain (B, 1, H, W) whose style is taken; without them the domain's
                typical style (mapper at z = 0).

        Returns:
            Greys (B, 1, H, W), clamped to [-1, 1].
        """
        number = target
        if isinstance(number, Domain):
            number = torch.full((len(image),), self.number(number), device=image.device)
        if reference is None:
            style = self.mapper(image.new_zeros(len(image), self.mapper.latent_size), number)
        else:
            style = self.encoder(reference, number)
        out: Tensor = self.generator(image, style)
        return out.clamp(-1, 1)
