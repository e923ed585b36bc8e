"""`report.html`: one self-contained page that leads with the verdict and the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import get_args

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from common.assessment.dossier import Dossier
from common.files import write_whole
from common.sequences import STRUCTURAL, Sequence, in_order
from common.settings.stages import Stage
from simulations.comparison.style_codes import StyleMap
from simulations.report.assessment_table import heat_tables
from simulations.report.charts import colour, line_chart, roc_chart
from simulations.report.course import StageFacts
from simulations.report.measures import Method, PairFidelity, Segmentation
from simulations.report.pictures import Gallery
from simulations.report.style_chart import style_charts
from simulations.report.summary import Summary
from simulations.report.targets import mean_by_pair

TEMPLATE = "page.html"
METHODS: tuple[Method, ...] = get_args(Method)
STAGE_TITLES = {
    Stage.GENERATOR: "Generator: any sequence of any site into any other",
    Stage.SYNTHESISER: "Synthesiser: T1Gd under either hypothesis",
    Stage.SEGMENTER: "Segmenter: whole tumour, core, enhancing tumour",
    Stage.IDENTIFIER: "Identifier: blood-brain barrier status",
    Stage.MAPS: "Maps: one sequence drawn from any subset of others",
}


@dataclass(frozen=True)
class Cell:
    """One ordered pair in a site's matrix: grey levels of the generator and of copying."""

    drawn: float
    copied: float

    @property
    def ratio(self) -> float:
        """Generator against copy; below one is better."""
        return self.drawn / self.copied if self.copied else float("inf")

    @property
    def tint(self) -> str:
        """Class of the cell: how clearly the generator wins or loses."""
        return "good" if self.ratio <= 0.8 else "fair" if self.ratio < 1 else "bad"


@dataclass(frozen=True)
class Matrix:
    """All ordered pairs of one site, by (source, target); the diagonal holds the identity error."""

    site: str
    cells: dict[tuple[Sequence, Sequence], Cell]
    identity: dict[Sequence, float]

    @property
    def ratio(self) -> float | None:
        """Mean error of the generator against that of copying."""
        cells = self.cells.values()
        return fmean(cell.drawn for cell in cells) / fmean(cell.copied for cell in cells) if cells else None


def write_page(
    path: Path, summary: Summary, gallery: Gallery, styles: StyleMap | None = None, dossier: Dossier | None = None
) -> None:
    """Render the report to `path`. Raises GliofedError where the disk refuses."""
    write_whole(path, render_page(summary, gallery, styles, dossier).encode())


def render_page(
    summary: Summary, gallery: Gallery, styles: StyleMap | None = None, dossier: Dossier | None = None
) -> str:
    """Return the report as HTML that needs no other file; `dossier` is what the sites said of the release."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, figure=figure, bytes=byte_text, seconds=seconds_text)
    template = environment.from_string(files("simulations.report").joinpath(TEMPLATE).read_text("utf-8"))
    sites = [entry.site for entry in summary.data.sites]
    colours = {site: colour(index) for index, site in enumerate(sites)}
    matrices = site_matrices(summary)
    ranked = [matrix for matrix in matrices if matrix.ratio is not None]
    return template.render(
        summary=summary,
        gallery=gallery,
        styles=_style_charts(styles, colours),
        sequences=measured_sequences(summary),
        colours=colours,
        structural=STRUCTURAL,
        matrices=matrices,
        worst_site=max(ranked, key=lambda matrix: matrix.ratio or 0.0).site if len(ranked) > 1 else None,
        methods=METHODS,
        method_tables=[(region, method_rows(summary.fidelity, region)) for region in ("brain", "lesion")],
        dice_rows=dice_rows(summary.segmentation),
        roc=_roc(summary),
        dossier=dossier,
        heat_tables=[] if dossier is None else heat_tables(dossier),
        stages=[(STAGE_TITLES[stage.stage], stage, stage_charts(stage, colours)) for stage in summary.stages],
    )


def site_matrices(summary: Summary) -> list[Matrix]:
    """Return each site's matrix of errors, sites in the order of the study."""
    found = []
    for site in (entry.site for entry in summary.data.sites):
        cells = {}
        for entry in summary.fidelity:
            drawn, copied = entry.brain.get("generator"), entry.brain.get("copy")
            if entry.site == site and drawn and copied:
                cells[entry.source, entry.target] = Cell(drawn.mae, copied.mae)
        identity = {entry.sequence: entry.mae for entry in summary.identity if entry.site == site}
        found.append(Matrix(site, cells, identity))
    return found


def measured_sequences(summary: Summary) -> tuple[Sequence, ...]:
    """Return the structural sequences, and what else was held or measured."""
    held = {sequence for site in summary.data.sites for sequence in site.sequences}
    return in_order({*STRUCTURAL, *held, *(entry.target for entry in summary.fidelity)})


def method_rows(
    fidelity: Iterable[PairFidelity], region: str
) -> list[tuple[Sequence, dict[Method, float], Method | None]]:
    """Return per target the mean error of every method over sources and sites, and the method that wins."""
    entries = tuple(fidelity)
    rows: list[tuple[Sequence, dict[Method, float], Method | None]] = []
    for target in in_order({*STRUCTURAL, *(entry.target for entry in entries)}):
        errors: dict[Method, float] = {}
        for method in METHODS:
            pairs = mean_by_pair((entry for entry in entries if entry.target == target), method, region)
            if pairs:
                errors[method] = fmean(pairs.values())
        ranked = sorted(errors, key=errors.__getitem__)
        rows.append((target, errors, ranked[0] if ranked else None))
    return rows


@dataclass(frozen=True)
class DiceRow:
    """Whole-tumour Dice of one site: with all real, and with each structural sequence filled, in their order."""

    site: str
    patients: int
    real: float | None
    filled: tuple[float | None, ...]

    @property
    def ratio(self) -> float | None:
        """The worst fill against all real; None where either was not measured."""
        known = [value for value in self.filled if value is not None]
        return min(known) / self.real if known and self.real else None


def dice_rows(found: Iterable[Segmentation]) -> list[DiceRow]:
    """Return one row a site, in the order of the summary."""
    by_site: dict[str, dict[Sequence | None, Segmentation]] = {}
    for entry in found:
        by_site.setdefault(entry.site, {})[entry.filled] = entry
    return [
        DiceRow(
            site=site,
            patients=entries[None].patients,
            real=entries[None].dice["WT"],
            filled=tuple(entries[name].dice["WT"] if name in entries else None for name in STRUCTURAL),
        )
        for site, entries in by_site.items()
        if None in entries
    ]


def stage_charts(stage: StageFacts, colours: dict[str, str]) -> list[Markup]:
    """Return one chart a loss, with a line a site over the rounds."""
    names = sorted({name for entry in stage.rounds for losses in entry.losses.values() for name in losses})
    charts = []
    for name in names:
        series = {
            site: [
                (float(entry.round), entry.losses[site][name])
                for entry in stage.rounds
                if name in entry.losses.get(site, {})
            ]
            for site in colours
        }
        title = name.removeprefix("training.").replace("held_out.", "held out: ").replace("_", " ")
        charts.append(Markup(line_chart(title, {site: line for site, line in series.items() if line}, colours)))  # noqa: S704
    return charts


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure with `digits` decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def figure(value: float | None) -> str:
    """Return a target's figure: whole numbers as such, others with two decimals."""
    return number(value, 0 if value is not None and value == int(value) else 2)


def byte_text(count: float) -> str:
    """Return bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def seconds_text(seconds: float) -> str:
    """Return a duration in seconds or minutes."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def _style_charts(styles: StyleMap | None, colours: dict[str, str]) -> list[list[Markup]]:
    """Return the panels of both maps, of codes and of features; none where there is no map."""
    maps = [] if styles is None else [styles.by_code, styles.by_features]
    codes = () if styles is None else styles.codes
    return [[Markup(chart) for chart in style_charts(codes, places, colours)] for places in maps]  # noqa: S704


def _roc(summary: Summary) -> Markup:
    """Return the ROC chart, empty where there is no curve."""
    curves = summary.identification.roc if summary.identification else {}
    colours = {"identifier": colour(0), "latent": colour(1)}
    return Markup(roc_chart(curves, colours) if curves else "")  # noqa: S704
