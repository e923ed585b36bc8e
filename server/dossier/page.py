"""`dossier.html`: the dossier as one page that needs no other file."""

from __future__ import annotations

from importlib.resources import files

from common.assessment.dossier import MatrixRow
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
MEASURES = {"mae": "MAE (grey levels of 255)", "ssim": "SSIM", "dice": "Dice"}


def render_page(dossier: ReleaseDossier) -> str:
    """Return the dossier as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=_figure, worst=_worst)
    template = environment.from_string(files("server.dossier").joinpath(TEMPLATE).read_text("utf-8"))
    sites = sorted(entry.site for entry in dossier.data)
    return template.render(
        dossier=dossier,
        sites=sites,
        sequences=in_order({name for entry in dossier.data for name in entry.sequences}),
        titles=STAGE_TITLES,
        measures=MEASURES,
        study_text=to_toml(dossier.study),
    )


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _worst(row: MatrixRow) -> float | None:
    return None if row.worst_site is None else row.sites[row.worst_site].mean
