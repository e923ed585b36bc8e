"""Everything that is measured of a release, and the pictures that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

from client.inference.models import ReleasedModels, open_models
from common.release import Release
from common.sequences import in_order
from simulations.baselines import fit_baselines
from simulations.comparison.cross_fit import PencilOf
from simulations.comparison.hypotheses import compare_hypotheses
from simulations.comparison.maps import compare_maps
from simulations.comparison.segmentation import compare_segmentation
from simulations.comparison.style_codes import StyleMap, map_styles
from simulations.comparison.subject import Pencil, Subject
from simulations.comparison.translation import Translation, compare_translation, measure_fill_gap
from simulations.report.gallery import choose, hypotheses_row, map_row, segmentation_row, translation_rows
from simulations.report.measures import FillGap, Hypotheses, MapFidelity, Segmentation
from simulations.report.pictures import Gallery

Advance = Callable[[int, int], None]
GAP_PATIENTS = 2
"""Training patients a site that the fill gap looks at, so that measuring it does not take longer than the rest."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `fill_gap` is None where nobody was held out, `styles` where there are too few patients."""

    translation: Translation
    fill_gap: FillGap | None
    hypotheses: tuple[Hypotheses, ...]
    segmentation: tuple[Segmentation, ...]
    maps: tuple[MapFidelity, ...]
    gallery: Gallery
    styles: StyleMap | None


def evaluate(
    release: Release,
    subjects: Items[Subject],
    training: Mapping[str, Items[Subject]],
    *,
    held_out: bool,
    advance: Advance,
    cross_fit: PencilOf | None = None,
) -> Evaluation:
    """Measure `release` on `subjects`.

    Args:
        release: what was trained.
        subjects: the patients to measure.
        training: per site the patients that it trained on, for the baselines and the fill gap.
        held_out: whether `subjects` are patients that no model saw.
        advance: hears (steps done, steps in all).
        cross_fit: the generators of a cross-fit; with them the fill gap looks at all training patients.
    """
    models = open_models(release)
    sequences = in_order(release.study.sequences)
    pencil = Pencil(models.generator, models.domains, release.study.reference_site, sequences)
    steps = _Steps(len(subjects) * (3 if models.maps is None else 4), advance)
    baselines = {site: fit_baselines((one.own for one in patients), sequences) for site, patients in training.items()}
    translation = compare_translation(subjects, pencil, baselines, steps.next)
    settings = release.study.stages.synthesiser
    hypotheses: tuple[Hypotheses, ...] = ()
    if models.synthesiser is not None and settings is not None:
        hypotheses = compare_hypotheses(subjects, models.synthesiser, settings, release.study.seed, steps.next)
    segmentation: tuple[Segmentation, ...] = ()
    if models.segmenter is not None:
        segmentation = compare_segmentation(subjects, models.segmenter, pencil, steps.next)
    looked_at = GAP_PATIENTS if cross_fit is None else None
    seen = [one for patients in training.values() for one in patients[:looked_at]]
    drawn_maps: tuple[MapFidelity, ...] = ()
    maps = release.study.stages.maps
    if models.maps is not None and maps is not None:
        everyone = (one.own for patients in training.values() for one in patients)
        fitted = fit_baselines(everyone, (*maps.inputs, maps.target))
        drawn_maps = compare_maps(subjects, models.maps, maps, fitted, steps.next)
    return Evaluation(
        translation=translation,
        fill_gap=measure_fill_gap(seen, subjects, pencil, cross_fit) if held_out else None,
        hypotheses=hypotheses,
        segmentation=segmentation,
        maps=drawn_maps,
        gallery=draw_gallery(release, models, pencil, subjects, translation),
        styles=map_styles(subjects, pencil, models.generator, release.study.seed),
    )


def draw_gallery(
    release: Release, models: ReleasedModels, pencil: Pencil, subjects: Items[Subject], translation: Translation
) -> Gallery:
    """Draw the chosen patients' pictures; hypotheses also for a patient of the other BBB status at each site."""
    chosen = choose(subjects, translation.error_of)
    settings, seed = release.study.stages.synthesiser, release.study.seed
    hypotheses, segmentation, maps = [], [], []
    if models.synthesiser is not None and settings is not None:
        pairs = both_states(chosen, subjects)
        hypotheses = [hypotheses_row(title, one, models.synthesiser, settings, seed) for title, one in pairs]
    if models.segmenter is not None:
        segmentation = [segmentation_row(title, one, models.segmenter, pencil) for title, one in chosen]
    if models.maps is not None and release.study.stages.maps is not None:
        maps = [map_row(title, one, models.maps, release.study.stages.maps) for title, one in chosen]
    return Gallery(
        translation=tuple(row for title, one in chosen for row in translation_rows(title, one, pencil)),
        hypotheses=tuple(row for row in hypotheses if row is not None),
        segmentation=tuple(row for row in segmentation if row is not None),
        maps=tuple(row for row in maps if row is not None),
    )


def both_states(chosen: list[tuple[str, Subject]], subjects: Items[Subject]) -> list[tuple[str, Subject]]:
    """Return each site's chosen subjects and, where it has one, the first with the opposite status and a core."""
    shown: list[tuple[str, Subject]] = []
    for title, subject in chosen:
        shown.append((title, subject))
        status = subject.truth.bbb_disrupted
        others = (one for one in subjects if one.site == subject.site and one.truth.bbb_disrupted == (not status))
        other = next((one for one in others if one.core.any() and status is not None), None)
        if other is not None and all(other is not one for _, one in (*chosen, *shown)):
            shown.append(("a patient of the other status", other))
    return shown


class _Steps:
    """Counts subjects over all comparisons for one progress bar."""

    def __init__(self, total: int, advance: Advance) -> None:
        self.done, self.total, self.advance = 0, total, advance

    def next(self) -> None:
        """Count one more."""
        self.done += 1
        self.advance(self.done, self.total)
