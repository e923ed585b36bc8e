"""What one step of the UMMGAT game is played on: rows drawn from a site's incomplete data.

A row is a source slice, mirrored by lot, with a target domain and a style: of the rows half take the domain's typical
style, a quarter one that the mapper draws, a quarter that of a picture. Where the target is one of the site's own
domains, a real picture of it from another draw is the reference. A row whose target is its own source is the identity;
a row whose patient has the target registered to the source carries a paired target, unless the study says
`pairs = "ignore"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from client.data.augmentation import mirror_some
from client.data.cache import CachedCase
from client.data.dataset import CaseStore, draw_below
from client.training.batches import move
from common.sequences import Sequence

IDENTITY_SHARE = 0.15
OWN_PAIR_SHARE = 0.6
FOREIGN_SHARE = 0.25
TYPICAL_STYLE_SHARE = 0.5
"""Of the rows, in quarters, in the typical style: the one that fills and harmonizes."""
PICTURE_SHARE = 0.25
"""Of the rows, in quarters, in the style of the reference, where the target is the site's own. The rest take a drawn
style."""


@dataclass(frozen=True)
class GanBatch:
    """B rows of the game.

    Attributes:
        source, target, reference: greys (B, 1, H, W) in [-1, 1]; `target` is meaningful where `paired`,
            `reference` where `own`.
        source_number, target_number: domain numbers (B,).
        brain, lesion, reference_lesion: masks (B, 1, H, W) bool; empty lesions where unknown.
        paired: (B,) the target is registered to the source.
        own: (B,) the target domain is the site's.
        latent: the mapper's z (B, Z), zero in the rows that train the typical style.
        by_picture: (B,) the style is read from the reference instead.
        other_latent: a second z (B, Z) for the rows in a drawn style, None where nobody asks for diversity.
    """

    source: Tensor
    source_number: Tensor
    target: Tensor
    target_number: Tensor
    reference: Tensor
    brain: Tensor
    lesion: Tensor
    reference_lesion: Tensor
    paired: Tensor
    own: Tensor
    latent: Tensor
    by_picture: Tensor
    other_latent: Tensor | None = None

    @property
    def in_drawn_style(self) -> Tensor:
        """(B,) the style is one that the mapper draws."""
        return self.latent.any(1) & ~self.by_picture

    def to(self, device: torch.device) -> GanBatch:
        """Return the batch on `device`."""
        return move(self, device)


@dataclass(frozen=True)
class GanDraw:
    """Draws batches of one site.

    Attributes:
        store: the site's cases.
        own: the site's sequences of the study, each with the number of its domain.
        foreign: numbers of the other sites' image domains.
        size: rows of a batch.
        latent_size: values of the mapper's z.
        use_pairs: whether a registered second sequence of a patient may be a paired target.
        diverse: whether rows in a drawn style get a second one.
    """

    store: CaseStore
    own: Mapping[Sequence, int]
    foreign: tuple[int, ...]
    size: int
    latent_size: int
    use_pairs: bool
    diverse: bool

    def __call__(self, generator: torch.Generator) -> GanBatch:
        """Draw source slices, target domains, references, styles and, where allowed, paired targets."""
        drawn = self.store.draw(self.size, generator, self._has_own)
        sources = mirror_some(drawn, generator)
        picks = [self._pick(self.store.cases[index], generator) for index in sources.case_index.tolist()]
        numbers = {number: sequence for sequence, number in self.own.items()}
        source = torch.stack([sources.images[sequence][row] for row, (sequence, _) in enumerate(picks)])
        target, reference = torch.full_like(source, -1), torch.full_like(source, -1)
        reference_lesion = torch.zeros_like(sources.brain)
        paired, own = torch.zeros(self.size, dtype=torch.bool), torch.zeros(self.size, dtype=torch.bool)
        for row, (sequence, number) in enumerate(picks):
            wanted = numbers.get(number)
            if wanted is None:
                continue
            own[row] = True
            if wanted == sequence or (self.use_pairs and bool(sources.present[wanted][row])):
                paired[row] = True
                target[row] = sources.images[wanted][row]
            other = self.store.draw(1, generator, holding(wanted))
            reference[row] = other.images[wanted][0]
            reference_lesion[row] = other.whole_tumour[0]
        latent, other_latent = self._latent(generator), self._latent(generator) if self.diverse else None
        quarter = torch.arange(self.size) % 4
        return GanBatch(
            source=source,
            source_number=torch.tensor([self.own[sequence] for sequence, _ in picks]),
            target=target,
            target_number=torch.tensor([number for _, number in picks]),
            reference=reference,
            brain=sources.brain,
            lesion=sources.whole_tumour,
            reference_lesion=reference_lesion,
            paired=paired,
            own=own,
            latent=torch.where((quarter < 4 * TYPICAL_STYLE_SHARE)[:, None], 0.0, latent),
            by_picture=own & (quarter >= 4 * (1 - PICTURE_SHARE)),
            other_latent=other_latent,
        )

    def _has_own(self, case: CachedCase) -> bool:
        return any(sequence in self.own for sequence in case.sequences)

    def _pick(self, case: CachedCase, generator: torch.Generator) -> tuple[Sequence, int]:
        """Choose a source sequence of `case` and a target domain's number."""
        held = [sequence for sequence in case.sequences if sequence in self.own]
        source = held[draw_below(len(held), generator)]
        chance = float(torch.rand((), generator=generator))
        if chance < IDENTITY_SHARE:
            return source, self.own[source]
        chance = (chance - IDENTITY_SHARE) / (1 - IDENTITY_SHARE)
        partners = [sequence for sequence in held if sequence != source]
        if self.use_pairs and partners and chance < OWN_PAIR_SHARE:
            return source, self.own[partners[draw_below(len(partners), generator)]]
        if self.foreign and float(torch.rand((), generator=generator)) < FOREIGN_SHARE:
            return source, self.foreign[draw_below(len(self.foreign), generator)]
        numbers = [number for sequence, number in sorted(self.own.items()) if sequence != source] or [self.own[source]]
        return source, numbers[draw_below(len(numbers), generator)]

    def _latent(self, generator: torch.Generator) -> Tensor:
        return torch.randn(self.size, self.latent_size, generator=generator)


def draw_of_patient(draw: GanDraw, patient: str, images: tuple[int, ...]) -> GanDraw:
    """Return a draw of four rows, one of each style's quarter, from the scans of `patient` alone.

    What the patient does not hold is drawn towards like another site's domain: no other patient's picture shows it.

    Args:
        draw: the site's.
        images: numbers of all image domains.
    """
    store = draw.store.of_patient(patient)
    held = {sequence for case in store.cases for sequence in case.sequences}
    own = {sequence: number for sequence, number in draw.own.items() if sequence in held}
    foreign = tuple(number for number in images if number not in own.values())
    return replace(draw, store=store, own=own, foreign=foreign, size=4)


@cache
def holding(sequence: Sequence) -> Callable[[CachedCase], bool]:
    """Return whether a case holds `sequence`: one function for each."""
    return lambda case: sequence in case.sequences
