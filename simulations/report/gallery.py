"""The pictures of a report: each site's patient of median error, and the patient whom the release serves worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.cache import LabelKind
from client.inference.maps import MapDrawing
from common.generative.hypotheses import Synthesiser
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence
from common.settings.stages import MapsStage, SynthesiserStage
from simulations.comparison.hypotheses import draw_subject
from simulations.comparison.maps import draw_from
from simulations.comparison.segmentation import segment_subject
from simulations.comparison.subject import Pencil, Subject
from simulations.report.pictures import Row, Tile, crop_to, difference_tile, grey_tile, overlay_tile

SHOWN_PAIRS = (
    (Sequence.T2, Sequence.T1),
    (Sequence.T1, Sequence.T1GD),
    (Sequence.T1, Sequence.T2),
    (Sequence.T2, Sequence.FLAIR),
    (Sequence.FLAIR, Sequence.T1),
    (Sequence.T1, Sequence.FLAIR),
)
"""The first `MOST_PAIRS` that a patient holds: across the contrasts, where a copy shows, and T1 to T1Gd."""

MOST_PAIRS = 4
WHITE_PERCENTILE = 99.5


def choose(subjects: Items[Subject], error_of: Mapping[tuple[str, str], float]) -> list[tuple[str, Subject]]:
    """Return, with a title, each site's subject of median error, and behind its own site the one of largest error."""
    scored = sorted(
        ((error, subject) for subject in subjects if (error := error_of.get((subject.site, subject.truth.case)))),
        key=lambda pair: pair[0],
    )
    chosen: list[tuple[str, Subject]] = []
    for site in sorted({subject.site for _, subject in scored}):
        here = [subject for _, subject in scored if subject.site == site]
        median = here[(len(here) - 1) // 2]
        chosen.append(("median patient", median))
        worst = scored[-1][1]
        if worst.site == site and worst is not median:
            chosen.append(("worst patient of all sites", worst))
    return chosen


def translation_rows(title: str, subject: Subject, pencil: Pencil) -> list[Row]:
    """Return what was given, drawn and true, with the difference, for the pairs that the subject holds."""
    rows: list[Row] = []
    number, truth = subject.fullest_slice, subject.truth
    brain = subject.brain[number]
    crop = crop_to(brain)
    for source, target in SHOWN_PAIRS:
        domain = pencil.domain(subject.site, target)
        if domain is None or len(rows) == MOST_PAIRS or not {source, target} <= set(truth.sequences):
            continue
        given, true = truth.slices(source)[number], truth.slices(target)[number]
        (drawn,) = pencil.draw(subject, source, domain, (number,))
        tiles = (
            grey_tile(given, crop, f"given: {source}"),
            grey_tile(drawn, crop, f"drawn: {target}", strong=True),
            grey_tile(true, crop, f"true: {target}"),
            difference_tile(drawn, true, brain, crop, "drawn − true"),
        )
        rows.append(Row(subject.site, f"{source} → {target}, {title}", tiles))
    return rows


def hypotheses_row(
    title: str, subject: Subject, model: Synthesiser, settings: SynthesiserStage, seed: int
) -> Row | None:
    """Return both hypotheses with their difference and, where there is one, the true T1Gd."""
    drawn = draw_subject(model, settings, seed, subject)
    if drawn is None:
        return None
    number, truth = subject.fullest_slice, subject.truth
    brain = subject.brain[number]
    crop = crop_to(brain)
    plus, minus = drawn.enhancing[number], drawn.non_enhancing[number]
    tiles = [grey_tile(truth.slices(sequence)[number], crop, f"given: {sequence}") for sequence in settings.conditions]
    tiles += [
        grey_tile(minus, crop, "drawn: T1Gd⁻", strong=True),
        grey_tile(plus, crop, "drawn: T1Gd⁺", strong=True),
        difference_tile(plus, minus, brain, crop, "T1Gd⁺ − T1Gd⁻"),
    ]
    if Sequence.T1GD in truth.sequences:
        tiles.append(grey_tile(truth.slices(Sequence.T1GD)[number], crop, "true: T1Gd"))
    status = {True: "barrier disrupted", False: "barrier intact", None: "barrier status unknown"}[truth.bbb_disrupted]
    return Row(subject.site, f"{status}, {title}", tuple(tiles))


def segmentation_row(title: str, subject: Subject, model: Callable[[Tensor], Tensor], pencil: Pencil) -> Row | None:
    """Return the reference, and the model's labels with all real and with each sequence filled."""
    if not set(STRUCTURAL) <= set(subject.truth.sequences) or subject.truth.label_kind is LabelKind.NONE:
        return None
    number = subject.fullest_slice
    image, outline = subject.truth.slices(Sequence.FLAIR)[number], subject.lesion[number]
    crop = crop_to(subject.brain[number])
    reference = subject.labels[number] if subject.truth.label_kind is LabelKind.FULL else outline * 2
    tiles: list[Tile] = [overlay_tile(image, reference, outline, crop, "reference")]
    for without in (None, *STRUCTURAL):
        labels = segment_subject(subject, model, pencil, without)
        if labels is not None:
            caption = f"{without} filled" if without else "all real"
            tiles.append(overlay_tile(image, labels[number], outline, crop, caption, strong=True))
    return Row(subject.site, title, tuple(tiles))


def map_row(title: str, subject: Subject, model: MapDrawing, settings: MapsStage) -> Row | None:
    """Return the map drawn from all inputs and, where it can be, without gadolinium, beside the true one.

    Grey levels are stretched so that white is the true map's 99.5th percentile: maps in physical units are dark.
    """
    number, truth = subject.fullest_slice, subject.truth
    if not {settings.target, *settings.inputs} <= set(truth.sequences):
        return None
    brain, true = subject.brain[number], truth.slices(settings.target)[number]
    crop, white = crop_to(brain), float(np.percentile(true[brain], WHITE_PERCENTILE)) + 1

    def stretched(image: NDArray[np.floating]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = np.clip((image + 1) * (2 / white) - 1, -1, 1)
        return found

    free = tuple(sequence for sequence in settings.inputs if sequence not in NEEDS_GADOLINIUM)
    subsets = (settings.inputs, free) if settings.subsets == "any" and 0 < len(free) < len(settings.inputs) else ()
    tiles = [grey_tile(stretched(true), crop, f"true: {settings.target}")]
    for subset in subsets or (settings.inputs,):
        drawn = stretched(draw_from(model, settings, subject, subset, (number,))[0] / 127.5 - 1)
        tiles.append(grey_tile(drawn, crop, f"drawn from {', '.join(subset)}", strong=True))
        tiles.append(difference_tile(drawn, stretched(true), brain, crop, "drawn − true"))
    return Row(subject.site, title, tuple(tiles))
