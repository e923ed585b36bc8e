"""Drawn maps against the true ones, subset by subset of their inputs, and against what needs no network.

A model is not to be judged by what it was trained on: beside error and SSIM stand the correlation, and the bias and
scatter of the mean in the tumour core, which is what a reader takes from a CBV map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median, stdev

import numpy as np
from numpy.typing import NDArray

from client.inference.maps import MapDrawing, draw_map
from common.metrics.fidelity import measure, to_greys
from common.sequences import Sequence
from common.settings.stages import MapsStage
from simulations.baselines import Baselines
from simulations.comparison.subject import Subject
from simulations.report.measures import MapFidelity, MapMeasure, MapMethod

Greys = NDArray[np.float64]
Subset = tuple[Sequence, ...]
ALL_SUBSETS_UP_TO = 5


@dataclass(frozen=True)
class MapFound:
    """One patient's drawn map against the true one.

    Attributes:
        brain: likeness inside the brain.
        core: likeness inside the tumour core; None where there is none.
        bias: drawn minus true mean in the core, as a share of the true one; None likewise.
    """

    brain: MapMeasure
    core: MapMeasure | None
    bias: float | None


def subsets_of(settings: MapsStage) -> tuple[Subset, ...]:
    """Return the subsets of the inputs that are compared: all of up to five inputs, of more each one and all."""
    inputs = settings.inputs
    if settings.subsets == "all-inputs":
        return (inputs,)
    if len(inputs) > ALL_SUBSETS_UP_TO:
        return (*((sequence,) for sequence in inputs), inputs)
    return tuple(subset for size in range(1, len(inputs) + 1) for subset in combinations(inputs, size))


def draw_from(model: MapDrawing, settings: MapsStage, subject: Subject, subset: Subset, rows: Items[int]) -> Greys:
    """Return slices `rows` of the target drawn from the subject's true `subset`, greys (K, H, W)."""
    given = {sequence: subject.truth.slices(sequence)[list(rows)] for sequence in subset}
    return to_greys(draw_map(model, settings.inputs, given, subject.brain[list(rows)]))


def measure_subset(
    subjects: Iterable[Subject], model: MapDrawing, settings: MapsStage, subset: Subset
) -> dict[tuple[str, str], MapFound]:
    """Return, by site and case, the map drawn from `subset` against the true one, where a subject's truth has both."""
    return {
        (subject.site, subject.truth.case): measure_map(
            subject, settings.target, draw_from(model, settings, subject, subset, subject.sampled)
        )
        for subject in subjects
        if {settings.target, *subset} <= set(subject.truth.sequences)
    }


def measure_map(subject: Subject, target: Sequence, drawn: Greys) -> MapFound:
    """Compare the sampled slices of a drawn map, greys (K, H, W), with the true ones."""
    rows = list(subject.sampled)
    true, brain = to_greys(subject.truth.slices(target)[rows]), subject.brain[rows]
    drawn, core = np.where(brain, drawn, 0), subject.core[rows] & brain
    inside = _likeness(drawn, true, brain)
    assert inside is not None, "a cached case has a brain"  # noqa: S101
    mean = float(true[core].mean()) if core.any() else 0.0
    return MapFound(inside, _likeness(drawn, true, core), float(drawn[core].mean()) / mean - 1 if mean > 0 else None)


def _likeness(drawn: Greys, true: Greys, mask: NDArray[np.bool_]) -> MapMeasure | None:
    found = measure(drawn, true, mask)
    if found is None:
        return None
    varied = min(float(drawn[mask].std()), float(true[mask].std())) > 0
    r = float(np.corrcoef(drawn[mask], true[mask])[0, 1]) if varied else None
    return MapMeasure(mae=found.mae, ssim=found.ssim, r=r)


def compare_maps(
    subjects: Items[Subject],
    model: MapDrawing,
    settings: MapsStage,
    baselines: Baselines,
    on_subject: Callable[[], None],
) -> tuple[MapFidelity, ...]:
    """Measure every subset on every subject, beside the best constant and each single input's best tone curve.

    Args:
        subjects: the patients.
        model: the released model.
        settings: the study's, which name target and inputs.
        baselines: fitted on training patients of all sites.
        on_subject: called after each subject.
    """
    found: dict[tuple[MapMethod, Subset], list[MapFound]] = {}
    for subject in subjects:
        for subset in subsets_of(settings):
            for one in measure_subset([subject], model, settings, subset).values():
                found.setdefault(("model", subset), []).append(one)
        for key, offer in _offers(subject, settings, baselines).items():
            found.setdefault(key, []).append(measure_map(subject, settings.target, offer))
        on_subject()
    return tuple(summarise(settings.target, method, subset, each) for (method, subset), each in found.items())


def _offers(subject: Subject, settings: MapsStage, baselines: Baselines) -> Mapping[tuple[MapMethod, Subset], Greys]:
    """Return what needs no network: a constant, and for each input that the subject has a tone curve."""
    held, rows = set(subject.truth.sequences), list(subject.sampled)
    if settings.target not in held or settings.target not in baselines.constant:
        return {}
    constant = np.full(subject.brain[rows].shape, baselines.constant[settings.target])
    offers: dict[tuple[MapMethod, Subset], Greys] = {("constant", ()): constant}
    for sequence in settings.inputs:
        curve = baselines.curves.get((sequence, settings.target))
        if curve is not None and sequence in held:
            offers["tone curve", (sequence,)] = curve(to_greys(subject.truth.slices(sequence)[rows]))
    return offers


def summarise(target: Sequence, method: MapMethod, subset: Subset, found: Items[MapFound]) -> MapFidelity:
    """Return means over patients, and the median and the spread of their biases."""
    biases = [one.bias for one in found if one.bias is not None]
    cores = [one.core for one in found if one.core is not None]
    return MapFidelity(
        target=target,
        method=method,
        inputs=subset,
        patients=len(found),
        brain=_mean([one.brain for one in found]),
        core=_mean(cores) if cores else None,
        bias=median(biases) if biases else None,
        scatter=stdev(biases) if len(biases) > 1 else None,
    )


def _mean(measures: Items[MapMeasure]) -> MapMeasure:
    correlations = [each.r for each in measures if each.r is not None]
    return MapMeasure(
        mae=fmean(each.mae for each in measures),
        ssim=fmean(each.ssim for each in measures),
        r=fmean(correlations) if correlations else None,
    )
