"""UMMGAT as one module: generator, sequence encoder, mapper and discriminator over a list of domains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.nets.discriminator import Discriminator
from common.nets.generator import GENERATOR_SIZES, SwinUNetGenerator
from common.nets.style import Mapper, SequenceEncoder
from common.sequences import Domain


@dataclass(frozen=True)
class StyleSize:
    """Sizes of style code and latent, of the mapper, and of the convolutional trunks of encoder and discriminator."""

    style: int
    latent: int
    mapper: int
    trunk: tuple[int, ...]


STYLE_SIZES = {
    "tiny": StyleSize(style=32, latent=16, mapper=64, trunk=(16, 32, 64, 96)),
    "paper": StyleSize(style=64, latent=16, mapper=512, trunk=(64, 128, 256, 512, 512)),
}


class Ummgat(nn.Module):
    """All four networks of the game, on the domains of a plan (images first, then their lesion twins).

    Attributes:
        domains: the domains in the order of their numbers.
    """

    COMPILED_PARTS = ("generator", "encoder")  # the discriminator's gradient is differentiated again, by R1

    def __init__(self, domains: tuple[Domain, ...], size: str) -> None:
        super().__init__()
        style = STYLE_SIZES[size]
        self.domains = domains
        self.generator = SwinUNetGenerator(GENERATOR_SIZES[size], style.style)
        self.encoder = SequenceEncoder(domains, style.trunk, style.style)
        self.mapper = Mapper(domains, style.latent, style.mapper, style.style)
        self.discriminator = Discriminator(domains, style.trunk)

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


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights and biases anew from `generator`: uniform within 1 / sqrt(fan in), unit norms.

    These are PyTorch's own first weights, drawn reproducibly. He's, which are larger, add up along the residual levels
    and make the generator learn several times slower. A tensor that its class set to zero (output layers, position
    biases) stays zero.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        bound = 1 / math.sqrt(module.weight[0].numel())
        for tensor in (module.weight, module.bias):
            if tensor is not None and bool(tensor.any()):
                with torch.no_grad():
                    tensor.uniform_(-bound, bound, generator=generator)
