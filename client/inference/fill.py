"""Missing sequences, drawn by the generator from the nearest sequence that the case really has.

The label-guided use of UMMGAT (npj Precis Onc 9:384): any available sequence and the number of the wanted domain give
the missing one. A fill is a training input or an output with its provenance; it is never a target.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.inference.device import device_of
from client.precision import half_precision
from common.errors import DataError
from common.sequences import Domain, Sequence

SOURCES: dict[Sequence, tuple[Sequence, ...]] = {
    Sequence.T1: (Sequence.T1GD, Sequence.T2, Sequence.FLAIR),
    Sequence.T1GD: (Sequence.T1, Sequence.T2, Sequence.FLAIR),
    Sequence.T2: (Sequence.FLAIR, Sequence.T1, Sequence.T1GD),
    Sequence.FLAIR: (Sequence.T2, Sequence.T1, Sequence.T1GD),
}
"""From which sequence each is filled: its nearest relative first (T1 and T1Gd, T2 and FLAIR), then T1 and T2."""

ANY_SOURCE = (Sequence.T1, Sequence.T2, Sequence.FLAIR, Sequence.T1GD)
"""The order for a map, and what precedes the maps as last resort of a structural sequence."""


class Translator(Protocol):
    """What this module asks of `common.nets.ummgat.Ummgat`."""

    domains: tuple[Domain, ...]

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        """Return `image`, (B, 1, H, W) in [-1, 1], as the domains with indices `target`, (B,), draw it."""
        ...


def pick_source(target: Sequence, present: Collection[Sequence]) -> Sequence | None:
    """Return the sequence among `present` from which `target` is best filled; None where none is there."""
    order = (*SOURCES.get(target, ()), *ANY_SOURCE, *Sequence)
    return next((source for source in order if source in present and source != target), None)


def pick_domain(
    domains: tuple[Domain, ...], sequence: Sequence, site: str | None, reference_site: str
) -> Domain | None:
    """Return the image domain in which `sequence` is drawn: the site's own, else the reference centre's, else any.

    `any` is the first in sorted order; None where no site of the release holds the sequence.
    """
    held = sorted(domain for domain in domains if domain.sequence == sequence and not domain.lesion)
    for wanted in (site, reference_site):
        if wanted is not None and Domain(wanted, sequence) in held:
            return Domain(wanted, sequence)
    return held[0] if held else None


@torch.no_grad()
def fill_missing(
    generator: Translator,
    images: Mapping[Sequence, Tensor],
    present: Mapping[Sequence, Tensor],
    site: str | None,
    reference_site: str,
    brain: Tensor | None = None,
    domains: tuple[Domain, ...] | None = None,
) -> dict[Sequence, Tensor]:
    """Fill what each slice of a batch lacks, in one pass of the generator.

    Args:
        generator: the released generator; it is not trained here, and no gradient flows.
        images: per sequence (B, 1, H, W) float32 in [-1, 1], anything where absent.
        present: per sequence (B,) bool: the image is real.
        site: the site whose pictures these are; None where the release does not know it.
        reference_site: the study's reference centre.
        brain: (B, 1, H, W) bool; None takes every voxel that some present sequence shows above background.
        domains: the domains to choose from, where not all of the generator's were trained.
    Returns:
        Every key of `images`, (B, 1, H, W) float32: real rows untouched, filled rows with -1 outside the brain. A row
        stays -1 where it has no source, or where no site of the release holds the sequence.
    """
    sequences = tuple(images)
    filled = {
        sequence: torch.where(present[sequence][:, None, None, None], images[sequence], -1.0) for sequence in sequences
    }
    if brain is None:
        brain = torch.stack([filled[sequence] > -1 for sequence in sequences]).any(0)
    has = torch.stack([present[sequence] for sequence in sequences]).cpu()
    jobs: list[tuple[int, Sequence, Sequence, int]] = []
    for row in range(has.shape[1]):
        there = {sequence for sequence, flag in zip(sequences, has[:, row].tolist(), strict=True) if flag}
        for sequence in sequences:
            source = None if sequence in there else pick_source(sequence, there)
            domain = pick_domain(domains or generator.domains, sequence, site, reference_site)
            if source is not None and domain is not None:
                jobs.append((row, source, sequence, generator.domains.index(domain)))
    if not jobs:
        return filled
    stack = torch.stack([images[source][row] for row, source, _, _ in jobs])
    target = torch.tensor([index for *_, index in jobs], device=stack.device)
    drawn = generator.translate(stack, target).float().clamp(-1, 1)
    for number, (row, _, sequence, _) in enumerate(jobs):
        filled[sequence][row] = torch.where(brain[row], drawn[number], -1.0)
    return filled


@dataclass(frozen=True)
class Filled:
    """A filled sequence.

    Attributes:
        slices: (K, H, W) in [-1, 1], -1 outside the brain.
        source: the real sequence it was drawn from.
        domain: whose style it has.
    """

    slices: NDArray[np.float32]
    source: Sequence
    domain: Domain


class Redrawer:
    """One case before the generator: each of its real sequences is drawn as each wanted domain once, and kept."""

    def __init__(
        self,
        generator: Translator,
        images: Mapping[Sequence, NDArray[np.float32]],
        brain: NDArray[np.uint8],
        domains: tuple[Domain, ...] | None = None,
    ) -> None:
        """Take real sequences and brain mask, (K, H, W), and the domains to choose from, by default all."""
        self.generator, self.images, self.brain = generator, images, brain
        self.domains = generator.domains if domains is None else domains
        self._drawn: dict[tuple[Sequence, Domain], NDArray[np.float32]] = {}

    def draw(self, source: Sequence, domain: Domain) -> NDArray[np.float32]:
        """Return the real sequence `source` as `domain` draws it, (K, H, W)."""
        if (source, domain) not in self._drawn:
            drawn = translate_volume(self.generator, self.images[source], domain, brain=self.brain)
            self._drawn[source, domain] = drawn
        return self._drawn[source, domain]


def fill_volumes(
    case: Redrawer,
    present: Collection[Sequence],
    wanted: Collection[Sequence],
    site: str | None,
    reference_site: str,
) -> dict[Sequence, Filled]:
    """Draw each `wanted` sequence that is not among those `present`, by the rules of `fill_missing`.

    A sequence that no site of the release holds, or that has no source, is left out.
    """
    filled: dict[Sequence, Filled] = {}
    for sequence in wanted:
        source = None if sequence in present else pick_source(sequence, present)
        domain = pick_domain(case.domains, sequence, site, reference_site)
        if source is not None and domain is not None:
            filled[sequence] = Filled(case.draw(source, domain), source, domain)
    return filled


@torch.inference_mode()
def translate_volume(
    generator: Translator,
    slices: NDArray[np.float32],
    target: Domain,
    batch: int = 32,
    brain: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """Return a volume's slices, (K, H, W) in [-1, 1], as `target` draws them, -1 outside the brain.

    Args:
        generator: the released generator; it runs where its parameters are.
        slices: (K, H, W) float32 of a real sequence.
        target: an image domain of the generator; its site may equal the slices' own (identity).
        batch: slices at a time.
        brain: (K, H, W), non-zero inside; None takes `slices > -1`.
    Raises:
        DataError: where the generator has no such domain.
    """
    if target not in generator.domains:
        raise DataError(
            f"{target.key}: not a domain of this release; choose one of {', '.join(d.key for d in generator.domains)}"
        )
    index = generator.domains.index(target)
    device = device_of(generator)
    inside = slices > -1 if brain is None else brain > 0
    out = np.full(slices.shape, -1, dtype=np.float32)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    for start in range(0, len(occupied), batch):
        rows = occupied[start : start + batch]
        image = torch.from_numpy(np.array(slices[rows], dtype=np.float32))[:, None].to(device)
        with half_precision(device):
            drawn = generator.translate(image, torch.full((len(rows),), index, device=device))
        out[rows] = np.where(inside[rows], drawn[:, 0].float().clamp(-1, 1).cpu().numpy(), np.float32(-1))
    return out
