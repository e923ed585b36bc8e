"""The generator against the truth and against what needs no network, for every site and ordered pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from client.inference.fill import pick_source
from common.metrics.fidelity import Fidelity, mean_absolute_error, measure, to_greys
from common.sequences import Domain, Sequence
from simulations.baselines import Baselines
from simulations.comparison.cross_fit import PencilOf
from simulations.comparison.subject import Pencil, Subject
from simulations.report.measures import FillGap, IdentityError, Measure, Method, PairFidelity

Greys = NDArray[np.float64]
Pair = tuple[Sequence, Sequence]
FillErrors = dict[tuple[str, Sequence], dict[str, float]]


@dataclass(frozen=True)
class _View:
    """The sampled slices of a subject: greys of what it holds, brain and lesion, (K, H, W) each."""

    held: dict[Sequence, Greys]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]


@dataclass
class _Tally:
    """What was measured of one pair at one site, patient by patient."""

    style_of: str
    brain: dict[Method, list[Fidelity]] = field(default_factory=dict)
    lesion: dict[Method, list[float]] = field(default_factory=dict)
    patients: int = 0


@dataclass(frozen=True)
class Translation:
    """The generator's figures, and each subject's mean error by the name of its case at its site."""

    fidelity: tuple[PairFidelity, ...]
    identity: tuple[IdentityError, ...]
    error_of: dict[tuple[str, str], float]


def compare_translation(
    subjects: Items[Subject], pencil: Pencil, baselines: Mapping[str, Baselines], on_subject: Callable[[], None]
) -> Translation:
    """Draw every ordered pair of the study's sequences that a subject's truth holds, and measure.

    Args:
        subjects: the patients.
        pencil: the released generator.
        baselines: per site, fitted on its training patients.
        on_subject: called after each subject.
    """
    tallies: dict[tuple[str, Pair], _Tally] = {}
    own: dict[tuple[str, Sequence], list[float]] = {}
    error_of: dict[tuple[str, str], float] = {}
    for subject in subjects:
        view, errors = _view(subject, pencil.sequences), []
        for target in view.held:
            domain = pencil.domain(subject.site, target)
            if domain is None:
                continue
            for source in view.held:
                drawn = to_greys(pencil.draw(subject, source, domain, subject.sampled))
                if source == target:
                    if domain.site == subject.site:
                        own.setdefault((subject.site, target), []).append(_error(drawn, target, view))
                    continue
                tally = tallies.setdefault((subject.site, (source, target)), _Tally(domain.site))
                offers = _offers(view.held, source, target, baselines[subject.site])
                offers["generator"] = drawn
                _add(tally, offers, view.held[target], view)
                errors.append(tally.brain["generator"][-1].mae)
        if errors:
            error_of[subject.site, subject.truth.case] = fmean(errors)
        on_subject()
    return Translation(
        fidelity=tuple(_fidelity(site, pair, tally) for (site, pair), tally in sorted(tallies.items())),
        identity=tuple(
            IdentityError(site=site, sequence=sequence, patients=len(errors), mae=fmean(errors))
            for (site, sequence), errors in sorted(own.items())
        ),
        error_of=error_of,
    )


def measure_fill_gap(
    training: Items[Subject], held_out: Items[Subject], pencil: Pencil, cross_fit: PencilOf | None = None
) -> FillGap:
    """Compare fills of patients that the generator was trained on with fills of others, over pairs that all hold.

    With `cross_fit` the training patients are also filled by the generator that did not see them, as in training.
    """
    seen, unseen = _fill_errors(training, lambda _: pencil), _fill_errors(held_out, lambda _: pencil)
    crossed = seen if cross_fit is None else _fill_errors(training, cross_fit)
    shared = sorted(seen.keys() & unseen.keys() & crossed.keys())

    def mean(errors: FillErrors) -> float | None:
        return fmean(fmean(errors[key].values()) for key in shared) if shared else None

    def patients(errors: FillErrors) -> int:
        return len({(site, patient) for site, sequence in shared for patient in errors[site, sequence]})

    return FillGap(
        training_mae=mean(seen),
        held_out_mae=mean(unseen),
        cross_fitted_mae=None if cross_fit is None else mean(crossed),
        training_patients=patients(seen),
        held_out_patients=patients(unseen),
    )


def _fill_errors(subjects: Iterable[Subject], pencil_of: PencilOf) -> FillErrors:
    """Return, by site and sequence, each patient's error of filling what the hospital has from the rest of it."""
    errors: FillErrors = {}
    for subject in subjects:
        pencil = pencil_of(subject)
        view = _view(subject, pencil.sequences)
        present = set(view.held) & set(subject.own.sequences)
        for target in sorted(present):
            source, domain = pick_source(target, present - {target}), Domain(subject.site, target)
            if source is not None and domain in pencil.domains:
                drawn = to_greys(pencil.draw(subject, source, domain, subject.sampled))
                errors.setdefault((subject.site, target), {})[subject.truth.patient] = _error(drawn, target, view)
    return errors


def _view(subject: Subject, sequences: tuple[Sequence, ...]) -> _View:
    rows = list(subject.sampled)
    held = [sequence for sequence in sequences if sequence in subject.truth.sequences]
    greys = {sequence: to_greys(subject.truth.slices(sequence)[rows]) for sequence in held}
    return _View(greys, subject.brain[rows], subject.lesion[rows])


def _error(drawn: Greys, target: Sequence, view: _View) -> float:
    error = mean_absolute_error(drawn, view.held[target], view.brain)
    assert error is not None, "a cached case has a brain"  # noqa: S101
    return error


def _offers(
    held: Mapping[Sequence, Greys], source: Sequence, target: Sequence, fitted: Baselines
) -> dict[Method, Greys]:
    """Return what each baseline offers for `target`; those that could not be fitted are left out."""
    offers: dict[Method, Greys] = {"copy": held[source]}
    best, curve = fitted.best_copy.get(target), fitted.curves.get((source, target))
    if best is not None and best in held:
        offers["best copy"] = held[best]
    if target in fitted.constant:
        offers["constant"] = np.full_like(held[target], fitted.constant[target])
    if curve is not None:
        offers["tone curve"] = curve(held[source])
    return offers


def _add(tally: _Tally, offers: Mapping[Method, Greys], wanted: Greys, view: _View) -> None:
    """Measure each offer inside the brain, black outside it, and inside the lesion."""
    tally.patients += 1
    box, brain = _box(view.brain), view.brain
    true = np.where(brain, wanted, 0)
    for method, offer in offers.items():
        found = measure(np.where(brain, offer, 0)[box], true[box], brain[box])
        inside = mean_absolute_error(offer, wanted, view.lesion)
        if found is not None:
            tally.brain.setdefault(method, []).append(found)
        if inside is not None:
            tally.lesion.setdefault(method, []).append(inside)


def _box(mask: NDArray[np.bool_], margin: int = 6) -> tuple[slice, ...]:
    """Return the window around `mask` in which SSIM sees all that it would see of the whole."""
    return tuple(slice(max(0, int(line.min()) - margin), int(line.max()) + 1 + margin) for line in np.nonzero(mask))


def _fidelity(site: str, pair: Pair, tally: _Tally) -> PairFidelity:
    methods: tuple[Method, ...] = ("generator", "copy", "best copy", "constant", "tone curve")

    def mean(found: list[Fidelity]) -> Measure | None:
        if not found:
            return None
        return Measure(
            mae=fmean(each.mae for each in found),
            psnr_db=fmean(each.psnr_db for each in found),
            ssim=fmean(each.ssim for each in found),
        )

    return PairFidelity(
        site=site,
        source=pair[0],
        target=pair[1],
        style_of=tally.style_of,
        patients=tally.patients,
        brain={method: mean(tally.brain.get(method, [])) for method in methods},
        lesion_mae={method: fmean(found) if (found := tally.lesion.get(method)) else None for method in methods},
    )
