"""`dossier.html`: the dossier as one page that needs no other file."""

from __future__ import annotations

from importlib.resources import files

from common.assessment.dossier import MatrixRow
from common.assessment.matrix import RELEASED
from common.sequences import in_order
from common.settings.stages import Stage
from server.dossier.dossier import ReleaseDossier
from server.study_text import to_toml

TEMPLATE = "page.html"
STAGE_TITLES = {
    Stage.GENERATOR: "Generator: any sequence of any site into any other",
    Stage.SYNTHESISER: "Synthesiser: T1Gd under either hypothesis about the barrier",
    Stage.SEGMENTER: "Segmenter: whole tumour, core, enhancing tumour",
    Stage.IDENTIFIER: "Identifier: blood-brain barrier status",
    Stage.MAPS: "Maps: one sequence drawn from any subset of others",
}
MEASURES = {"mae": "MAE", "ssim": "SSIM", "dice": "Dice"}


def render_page(dossier: ReleaseDossier) -> str:
    """Return the dossier as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=_figure, worst=_worst, tiny="{:.2g}".format)
    template = environment.from_string(files("server.dossier").joinpath(TEMPLATE).read_text("utf-8"))
    sites = sorted(entry.site for entry in dossier.data)
    return template.render(
        dossier=dossier,
        sites=sites,
        sequences=in_order({name for entry in dossier.data for name in entry.sequences}),
        metrics=sorted(dossier.metrics, key=lambda row: (row.assessor, row.measure, row.of, row.model != RELEASED)),
        stages=tuple(Stage),
        titles=STAGE_TITLES,
        measures=MEASURES,
        study_text=to_toml(dossier.study),
    )


def _figure(value: float | None) -> str:
    """Return a figure with three digits after the point, fewer where it is large; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3}f}"


def _worst(row: MatrixRow) -> float | None:
    return None if row.worst_site is None else row.sites[row.worst_site].mean
