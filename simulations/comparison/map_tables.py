"""Maps models in Markdown: the general one against those of a single subset, and subset by subset."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, median, stdev

from scipy.stats import t as student

from simulations.comparison.maps import MapFound, Subset
from simulations.report.measures import MapFidelity

Found = dict[tuple[str, str], MapFound]
MEASURES = ("MAE, brain", "SSIM, brain", "r, brain", "MAE, core", "r, core")
DIGITS = (2, 3, 2, 1, 2)
BIASES = ("bias, %", "scatter, %")


@dataclass(frozen=True)
class Contest:
    """One subset, drawn by the model of this subset alone and by the model of any subset.

    Attributes:
        subset: the inputs.
        single, general: what was found, by site and case; of the same cases.
        taught_single, taught_general: training patients behind each model.
    """

    subset: Subset
    single: Found
    general: Found
    taught_single: int
    taught_general: int


def contest_table(contests: Iterable[Contest]) -> str:
    """Return a row for each subset and model, and one with their paired differences; means and 95 % intervals."""
    rows = []
    for contest in contests:
        given = " + ".join(contest.subset)
        for name, found, taught in (
            ("this subset", contest.single, contest.taught_single),
            ("any subset", contest.general, contest.taught_general),
        ):
            rows.append([given, name, str(taught), *_means(map(values_of, found.values())), *_biases(found.values())])
        pairs = [(values_of(contest.general[key]), values_of(one)) for key, one in contest.single.items()]
        rows.append([given, "any − this", "", *_means(tuple(map(minus, a, b)) for a, b in pairs), "", ""])
    return _table(("given", "model", "taught by", *MEASURES, *BIASES), rows)


def subset_table(rows: Iterable[MapFidelity]) -> str:
    """Return a row for each subset of the general model, and for what needs no network; means over patients."""
    cells = []
    for row in rows:
        core = row.core
        values = (row.brain.mae, row.brain.ssim, row.brain.r, core.mae if core else None, core.r if core else None)
        told = [number(value, digits) for value, digits in zip(values, DIGITS, strict=True)]
        given = " + ".join(row.inputs) or "nothing"
        cells.append([row.method, given, str(row.patients), *told, percent(row.bias), percent(row.scatter)])
    return _table(("method", "given", "patients", *MEASURES, *BIASES), cells)


def values_of(found: MapFound) -> tuple[float | None, ...]:
    """Return one patient's `MEASURES`."""
    core = found.core
    return (
        *(found.brain.mae, found.brain.ssim, found.brain.r),
        *((None, None) if core is None else (core.mae, core.r)),
    )


def interval(values: Iterable[float | None], digits: int) -> str:
    """Return the mean of what is known with Student's 95 % interval; a dash where nothing is."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(known[0] if known else None, digits)
    mean, reach = fmean(known), float(student.ppf(0.975, len(known) - 1)) * stdev(known) / math.sqrt(len(known))
    return f"{number(mean, digits)} ({number(mean - reach, digits)} … {number(mean + reach, digits)})"


def minus(one: float | None, other: float | None) -> float | None:
    """Return the difference; None where either is unknown."""
    return None if one is None or other is None else one - other


def number(value: float | None, digits: int) -> str:
    """Return a figure, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    """Return a share in whole percent, a dash where there is none."""
    return "–" if share is None else f"{100 * share:.0f}"


def _means(patients: Iterable[tuple[float | None, ...]]) -> list[str]:
    columns = zip(*patients, strict=True)
    return [interval(values, digits) for values, digits in zip(columns, DIGITS, strict=True)]


def _biases(found: Iterable[MapFound]) -> list[str]:
    known = [one.bias for one in found if one.bias is not None]
    return [percent(median(known) if known else None), percent(stdev(known) if len(known) > 1 else None)]


def _table(columns: tuple[str, ...], rows: Iterable[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
