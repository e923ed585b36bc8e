"""What the sites said of the release, as heat tables: a row for each site and model, a column for each sequence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.assessment.dossier import Dossier, MatrixRow
from common.assessment.matrix import COPY, LOWER_IS_BETTER, REGIONS, RELEASED, SITE_ALONE
from common.sequences import Sequence

ALL_SITES = "all"
TITLES = {
    "mae": "Error of the drawing, grey levels of 255",
    "ssim": "Likeness of the drawing, SSIM",
    "dice": "Overlap of the segmentation, Dice",
}
DIGITS = {"mae": 1, "ssim": 3, "dice": 3}
COLUMNS = (*(sequence.value for sequence in Sequence), *REGIONS)
MODELS = (RELEASED, SITE_ALONE, COPY)
BETTER, WORSE = "31,122,77", "169,50,38"
DEEPEST = 0.45


@dataclass(frozen=True)
class HeatCell:
    """One figure as text with the colour behind it; `is_worst` where no other site fares worse with this model."""

    text: str
    colour: str = "transparent"
    is_worst: bool = False


@dataclass(frozen=True)
class HeatTable:
    """One measure: a row (site, model, patients, cells) for every site and model, `all` first."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, int, tuple[HeatCell, ...]], ...]


def heat_tables(dossier: Dossier) -> list[HeatTable]:
    """Return a table for each measure that some site sent, green where a figure is good among its column's."""
    measures = [measure for measure in TITLES if any(row.measure == measure for row in dossier.matrix)]
    return [_table(measure, [row for row in dossier.matrix if row.measure == measure]) for measure in measures]


def _table(measure: str, entries: list[MatrixRow]) -> HeatTable:
    columns = tuple(sorted({entry.of for entry in entries}, key=COLUMNS.index))
    sites = sorted({site for entry in entries for site in (*entry.sites, *entry.withheld)})
    found = {(entry.model, entry.of): entry for entry in entries}
    rows = []
    for site in (ALL_SITES, *sites):
        for model in MODELS:
            here = [found.get((model, of)) for of in columns]
            if any(entry is not None for entry in here):
                cells = tuple(_cell(entry, site, _range(entries, of)) for entry, of in zip(here, columns, strict=True))
                rows.append((site, model, _patients(here, site), cells))
    return HeatTable(TITLES[measure], columns, tuple(rows))


def _cell(entry: MatrixRow | None, site: str, span: tuple[float, float]) -> HeatCell:
    """Return a site's figure, `withheld` where it has too few patients, a dash where it has none."""
    figure = None if entry is None else entry.pooled if site == ALL_SITES else entry.sites.get(site)
    if entry is None or figure is None:
        return HeatCell("withheld" if entry is not None and site in entry.withheld else "–")
    place = _place(figure.mean, span, entry.measure)
    tone, depth = (BETTER, 2 * place - 1) if place >= 0.5 else (WORSE, 1 - 2 * place)
    colour = f"rgba({tone},{DEEPEST * depth:.2f})"
    return HeatCell(f"{figure.mean:.{DIGITS[entry.measure]}f}", colour, entry.worst_site == site)


def _place(value: float, span: tuple[float, float], measure: str) -> float:
    """Return where a figure lies between the worst, 0, and the best of its column, 1; one half where all are equal."""
    low, high = span
    share = 0.5 if high == low else (value - low) / (high - low)
    return 1 - share if measure in LOWER_IS_BETTER else share


def _range(entries: Iterable[MatrixRow], of: str) -> tuple[float, float]:
    means = [figure.mean for entry in entries if entry.of == of for figure in entry.sites.values()]
    return min(means), max(means)


def _patients(entries: Iterable[MatrixRow | None], site: str) -> int:
    """Return the most patients behind a figure of the row."""
    figures = [entry.pooled if site == ALL_SITES else entry.sites.get(site) for entry in entries if entry is not None]
    return max((figure.patients for figure in figures if figure is not None), default=0)
