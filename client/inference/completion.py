"""One cached case completed in memory: fills, harmonized images, both hypotheses, tumour and BBB status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.data.cache import CachedCase
from client.inference.drawing_plan import DrawingPlan, plan_of
from client.inference.fill import Filled, Redrawer, fill_volumes
from client.inference.harmonize import Harmonized, harmonize_volumes
from client.inference.identify import BbbResult, identify_case, with_probability
from client.inference.maps import DrawnMap, map_of_case
from client.inference.models import ReleasedModels, open_models
from client.inference.segment import labels_of, segment_volume, whole_tumour, without_specks
from client.inference.synthesise import HypothesesVolume, hypotheses_volume
from common.errors import DataError
from common.nets.embeddings import FILLED, MISSING, REAL
from common.release import Release
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence
from common.settings.stages import MapsStage, SynthesiserStage

Slices = NDArray[np.float32]

CONDITION = (Sequence.T1, Sequence.FLAIR)
"""What the identifier sees beside a drawn T1Gd."""
UNRECOGNISED = 0.5
"""Likeness below which an image is foreign to the release: it is no such sequence of a brain, or is damaged."""
SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 600.0, 2200.0
GADOLINIUM_ALONE = "there are images with gadolinium alone, which show the answer"
UNKNOWN_CENTRE = "unknown to this release, harmonized from its sequence alone"


@dataclass(frozen=True)
class Completion:
    """What a release makes of a case, all on the study grid, (K, H, W), images in [-1, 1].

    Attributes:
        real: the real sequences that were used.
        fills: the missing sequences, each with its source and style.
        harmonizations: every sequence, real or missing, in the reference centre's style.
        hypotheses: T1Gd under both hypotheses; None without a synthesiser, or where its conditions are out of reach.
        condition: what the conditions of the hypotheses were: the sequence itself where real, else the fill's source;
            None where it could not be had and was shown as missing.
        tumour_probability: whole tumour, core and enhancing tumour, (3, K, H, W); None without a segmenter.
        labels: 0 / 1 NCR / 2 ED / 4 ET, specks removed; None without a segmenter.
        bbb: status of the blood-brain barrier, or why there is none.
        drawn_map: the target of the maps stage; None without that stage, where it is real or where inputs are lacking.
        site: the site whose pictures these are, None where the release does not know it.
        remarks: what a reader must know about these results.
    """

    real: Mapping[Sequence, Slices]
    fills: Mapping[Sequence, Filled]
    harmonizations: Mapping[Sequence, Harmonized]
    hypotheses: HypothesesVolume | None
    condition: Mapping[Sequence, Sequence | None]
    tumour_probability: Slices | None
    labels: NDArray[np.uint8] | None
    bbb: BbbResult
    drawn_map: DrawnMap | None
    site: str | None
    remarks: tuple[str, ...]

    @property
    def filled(self) -> dict[Sequence, Slices]:
        """The missing sequences."""
        return {sequence: fill.slices for sequence, fill in self.fills.items()}

    @property
    def harmonized(self) -> dict[Sequence, Slices]:
        """Every sequence in the reference centre's style."""
        return {sequence: each.slices for sequence, each in self.harmonizations.items()}

    @property
    def t1gd_enhancing(self) -> Slices | None:
        """T1Gd if the barrier is disrupted."""
        return None if self.hypotheses is None else self.hypotheses.enhancing

    @property
    def t1gd_non_enhancing(self) -> Slices | None:
        """T1Gd if the barrier is intact."""
        return None if self.hypotheses is None else self.hypotheses.non_enhancing

    @property
    def t1gd_chosen(self) -> Slices | None:
        """The hypothesis that the BBB status takes; None where it is indeterminate."""
        chosen = {"disrupted": self.t1gd_enhancing, "intact": self.t1gd_non_enhancing}
        return chosen.get(self.bbb.status)


def complete_case(
    cached: CachedCase,
    release: Release,
    site: str | None,
    models: ReleasedModels | None = None,
    sampling_steps: int | None = None,
) -> Completion:
    """Complete one case.

    The tumour inside which the barrier is judged is found without any real T1Gd, as in a patient who had none, so that
    the status of a case does not depend on whether gadolinium was given. Synthesiser and segmenter see the case's own
    images, as they did in training, not their harmonized versions.

    Args:
        cached: a prepared case on the study's grid; only its `sequences` are used.
        release: the release.
        site: the site whose pictures these are; one that the release does not know is treated as None.
        models: the opened models of `release`, where many cases follow one another.
        sampling_steps: DDIM's or the solver's; None takes the study's.
    Raises:
        DataError: where the case holds no sequence of the study.
    """
    study = release.study
    models = open_models(release) if models is None else models
    known = site if site in study.sites else None
    real = {sequence: cached.slices(sequence) for sequence in study.sequences if sequence in cached.sequences}
    if not real:
        held = ", ".join(cached.sequences)
        raise DataError(
            f"{cached.case}: holds none of the study's sequences ({', '.join(study.sequences)}), only {held}"
        )
    redrawer = Redrawer(models.generator, real, cached.brain(), models.domains)
    case = _Case(redrawer, known, study.reference_site, models)
    fills = case.fill(real, study.sequences)
    plan = plan_of(study.stages.synthesiser or SynthesiserStage(), sampling_steps)
    sources = case.sources(plan.conditions)
    hypotheses = case.draw(plan, sources, study.seed)
    probability = case.tumour(real)
    harmonized = case.harmonize(fills)
    voxel_ml = float(abs(np.linalg.det(cached.affine[:3, :3]))) / 1000
    maps = study.stages.maps
    drawn_map = None if models.maps is None or maps is None else map_of_case(models.maps, maps, real, case.brain)
    return Completion(
        real=real,
        fills=fills,
        harmonizations=harmonized,
        hypotheses=hypotheses,
        condition=sources,
        tumour_probability=probability,
        labels=None if probability is None else without_specks(labels_of(probability), voxel_ml),
        bbb=_judge(case, release, hypotheses, harmonized, voxel_ml),
        drawn_map=drawn_map,
        site=known,
        remarks=(
            *_remarks(site, known, study.sequences, real, fills),
            *_hypotheses_remarks(case),
            *_map_remarks(maps, real, drawn_map),
        ),
    )


@dataclass(frozen=True)
class _Case:
    """What is asked again and again of one case: its real images, and the models that complete them."""

    redrawer: Redrawer
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


def _judge(
    case: _Case,
    release: Release,
    hypotheses: HypothesesVolume | None,
    harmonized: Mapping[Sequence, Harmonized],
    voxel_ml: float,
) -> BbbResult:
    """Return the BBB status, or the reason why there is none."""
    facts = release.manifest.identifier
    if case.models.identifier is None or facts is None:
        return indeterminate("the release holds no identifier")
    if not case.without_gadolinium():
        return indeterminate(GADOLINIUM_ALONE)
    tumour = case.tumour(case.without_gadolinium())
    condition = case.stack(case.without_gadolinium(), CONDITION)
    if condition is None or hypotheses is None or tumour is None:
        return indeterminate("T1, T1Gd, T2 and FLAIR cannot all be drawn from what there is")
    foreign = _foreign(case, case.sources(CONDITION), harmonized, voxel_ml)
    if foreign is not None:
        return indeterminate(f"foreign input: {foreign}")
    images = np.concatenate([condition, hypotheses.enhancing[None], hypotheses.non_enhancing[None]])
    result = identify_case(
        case.models.identifier,
        images,
        whole_tumour(tumour, voxel_ml),
        facts.slice_threshold,
        facts.volume_threshold,
        contrastive=facts.contrastive,
    )
    return with_probability(result, facts.curve, facts.abstain_margin)


def _foreign(
    case: _Case, sources: Mapping[Sequence, Sequence | None], harmonized: Mapping[Sequence, Harmonized], voxel_ml: float
) -> str | None:
    """Return why these images are none that the release can judge, None where they are."""
    volume_ml = voxel_ml * float((case.brain > 0).sum())
    if not SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        return f"the brain measures {volume_ml:.0f} ml, expected {SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f}"
    for sequence in dict.fromkeys(source for source in sources.values() if source is not None):
        if sequence in harmonized and harmonized[sequence].likeness < UNRECOGNISED:
            return (
                f"not recognised as {sequence} of a brain (r = {harmonized[sequence].likeness:.2f} with its redrawing)"
            )
    return None


def indeterminate(reason: str) -> BbbResult:
    """Return the result of a case that cannot be judged."""
    return BbbResult("indeterminate", reason, None, None, None, None, None, None, 0)


def _hypotheses_remarks(case: _Case) -> tuple[str, ...]:
    """Say why nothing was drawn from images with gadolinium alone."""
    if case.models.synthesiser is None or case.without_gadolinium():
        return ()
    return (f"T1Gd under either hypothesis: not drawn, {GADOLINIUM_ALONE}",)


def _map_remarks(
    settings: MapsStage | None, real: Mapping[Sequence, Slices], drawn: DrawnMap | None
) -> tuple[str, ...]:
    """Say why a target of the maps stage that the case lacks was not drawn."""
    if settings is None or settings.target in real or drawn is not None:
        return ()
    needed = ", ".join(settings.inputs)
    needed = f"all of {needed}" if settings.subsets == "all-inputs" else f"one of {needed}"
    return (f"{settings.target}: not drawn by the maps model, which needs {needed}",)


def _remarks(
    site: str | None,
    known: str | None,
    wanted: tuple[Sequence, ...],
    real: Mapping[Sequence, Slices],
    fills: Mapping[Sequence, Filled],
) -> tuple[str, ...]:
    remarks: list[str] = []
    if known is None:
        remarks.append(f"centre: {UNKNOWN_CENTRE}" + (f" (given as {site})" if site else ""))
    remarks += [
        f"{sequence}: cannot be filled, since no site of the release holds it"
        for sequence in wanted
        if sequence not in real and sequence not in fills
    ]
    return tuple(remarks)
