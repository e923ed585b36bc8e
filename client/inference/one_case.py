"""One case and the models that complete it: what is asked again and again of the two on the way to a completion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.inference.drawing_plan import DrawingPlan
from client.inference.fill import Filled, Redrawer, fill_volumes
from client.inference.harmonize import Harmonized, harmonize_volumes
from client.inference.models import ReleasedModels
from client.inference.segment import segment_volume
from client.inference.synthesise import HypothesesVolume, hypotheses_volume
from common.nets.embeddings import FILLED, MISSING, REAL
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence

Slices = NDArray[np.float32]


@dataclass(frozen=True)
class OneCase:
    """A case on the study's grid, (K, H, W), and the models.

    Attributes:
        redrawer: its real images and its brain, with the generator.
        voxel_ml: volume of a voxel.
        site: the site whose pictures these are, None where the release does not know it.
        reference_site: the site in whose style all are harmonized.
    """

    redrawer: Redrawer
    voxel_ml: float
    site: str | None
    reference_site: str
    models: ReleasedModels

    @property
    def real(self) -> Mapping[Sequence, Slices]:
        """The real images."""
        return self.redrawer.images

    @property
    def brain(self) -> NDArray[np.uint8]:
        """The brain mask."""
        return self.redrawer.brain

    def fill(self, present: Collection[Sequence], wanted: tuple[Sequence, ...]) -> dict[Sequence, Filled]:
        """Fill what is not `present` of `wanted`."""
        return fill_volumes(self.redrawer, present, wanted, self.site, self.reference_site)

    def stack(self, images: Mapping[Sequence, Slices], wanted: tuple[Sequence, ...]) -> Slices | None:
        """Return `wanted` as channels, (C, K, H, W), filled where `images` lacks them; None where one cannot be had."""
        whole = {**images, **{sequence: fill.slices for sequence, fill in self.fill(images, wanted).items()}}
        if not set(wanted) <= set(whole):
            return None
        return np.stack([np.asarray(whole[sequence]) for sequence in wanted])

    def without_gadolinium(self) -> dict[Sequence, Slices]:
        """Return the real images that need no gadolinium."""
        return {sequence: slices for sequence, slices in self.real.items() if sequence not in NEEDS_GADOLINIUM}

    def sources(self, wanted: tuple[Sequence, ...]) -> dict[Sequence, Sequence | None]:
        """Return what each of `wanted` comes from: itself where real, None where it cannot be had.

        Nothing is filled from a sequence that needs gadolinium: that would show a hypothesis the answer.
        """
        images = self.without_gadolinium()
        fills = self.fill(images, wanted)
        return {s: fills[s].source if s in fills else s if s in images else None for s in wanted}

    def draw(
        self, plan: DrawingPlan, sources: Mapping[Sequence, Sequence | None], seed: int
    ) -> HypothesesVolume | None:
        """Draw T1Gd under both hypotheses; None without a synthesiser, or where its conditions are out of reach."""
        there = frozenset(sequence for sequence, source in sources.items() if source is not None)
        if self.models.synthesiser is None or not plan.can_draw(there):
            return None
        images = self.without_gadolinium()
        images |= {sequence: fill.slices for sequence, fill in self.fill(images, plan.conditions).items()}
        background = np.full(self.brain.shape, -1, dtype=np.float32)
        condition = np.stack([np.asarray(images.get(sequence, background)) for sequence in plan.conditions])
        codes = tuple(_availability(sequence, sources[sequence]) for sequence in plan.conditions)
        return hypotheses_volume(self.models.synthesiser, plan, condition, seed, self.brain, codes)

    def tumour(self, images: Mapping[Sequence, Slices]) -> Slices | None:
        """Segment `images`, filled where they lack a channel, (3, K, H, W); None where that is out of reach."""
        if self.models.segmenter is None or (channels := self.stack(images, STRUCTURAL)) is None:
            return None
        return segment_volume(self.models.segmenter, channels)

    def harmonize(self, fills: Mapping[Sequence, Filled]) -> dict[Sequence, Harmonized]:
        """Return every sequence in the reference centre's style; what is missing is drawn there from its own source."""
        harmonized = harmonize_volumes(self.redrawer, self.site, self.reference_site)
        there = fill_volumes(self.redrawer, self.real, tuple(fills), self.reference_site, self.reference_site)
        for sequence, fill in there.items():
            harmonized[sequence] = Harmonized(fill.slices, fill.domain, unchanged=False, likeness=1.0)
        return harmonized


def _availability(sequence: Sequence, source: Sequence | None) -> int:
    if source is None:
        return MISSING
    return REAL if source == sequence else FILLED
