"""Two pictures of a release, drawn as SVG from what the sites said: how sites differ, and the ROC curve.

The coordinator has no others: a picture of a patient never leaves a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from common.assessment.dossier import MatrixRow, Roc
from common.assessment.matrix import RELEASED
from server.dossier.dossier import ReleaseDossier

INK, SOFT, LINE, ACCENT, BAD = "#16212b", "#5b6975", "#dfe5ea", "#0b6e8f", "#a93226"
ROW, LEFT, WIDTH = 34, 120, 560
"""Height of a row, where its axis begins, and the width of a picture, in units of the drawing."""


def pictures_of(dossier: ReleaseDossier) -> Mapping[str, str]:
    """Return file name → SVG; empty where the sites did not judge the release."""
    rows = [row for row in dossier.metrics if row.model == RELEASED and row.sites]
    found = {"sites.svg": sites_picture(rows)} if rows else {}
    return found if dossier.roc is None else {**found, "roc.svg": roc_picture(dossier.roc)}


def sites_picture(rows: list[MatrixRow]) -> str:
    """Draw a row a measure with a dot a site, from the least to the greatest mean; the worst is red."""
    parts = [_text(LEFT, 18, "each site's mean, least to greatest; red: the worst", SOFT)]
    for number, row in enumerate(sorted(rows, key=lambda row: (row.measure, row.of))):
        y = 44 + number * ROW
        means = {site: figure.mean for site, figure in row.sites.items()}
        low, high = min(means.values()), max(means.values())
        parts.append(_text(8, y + 4, f"{row.measure} {row.of}", INK))
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - 90}" stroke="{LINE}" stroke-width="2"/>')
        for site, mean in sorted(means.items(), key=lambda entry: entry[0] == row.worst_site):
            share = (mean - low) / (high - low) if high > low else 0.5
            fill = BAD if site == row.worst_site else ACCENT
            dot = f'<circle cx="{LEFT + share * (WIDTH - 90 - LEFT):.1f}" cy="{y}" r="5" fill="{fill}">'
            parts.append(f"{dot}<title>{escape(site)} {mean:.4g}</title></circle>")
        if row.worst_site is not None:
            parts.append(_text(WIDTH - 78, y + 4, f"{row.worst_site}", BAD))
        parts.append(_text(LEFT, y + 16, f"{low:.3g}", SOFT, 9))
        parts.append(_text(WIDTH - 90, y + 16, f"{high:.3g}", SOFT, 9, "end"))
    return _svg(WIDTH, 44 + len(rows) * ROW, "sites compared", parts)


def roc_picture(roc: Roc) -> str:
    """Draw the ROC curve of all sites together: the middle of what the bins leave open, and chance."""
    side, edge = 300.0, 40.0

    def place(false_positive: float, true_positive: float) -> str:
        return f"{edge + false_positive * side:.1f} {edge + (1 - true_positive) * side:.1f}"

    middles = sorted(
        ((p.false_positive_low + p.false_positive_high) / 2, (p.true_positive_low + p.true_positive_high) / 2)
        for p in roc.curve
    )
    parts = [f'<rect x="{edge}" y="{edge}" width="{side}" height="{side}" fill="none" stroke="{LINE}"/>']
    parts.append(f'<path d="M{place(0, 0)}L{place(1, 1)}" stroke="{SOFT}" stroke-dasharray="4 4"/>')
    curve = "L".join(place(*point) for point in [(0.0, 0.0), *middles, (1.0, 1.0)])
    parts.append(f'<path d="M{curve}" fill="none" stroke="{ACCENT}" stroke-width="2"/>')
    whole = next((area for area in roc.areas if area.site == "all"), None)
    if whole is not None:
        parts.append(_text(edge, 24, f"area {whole.low:.3f} … {whole.high:.3f}", INK))
    parts.append(_text(edge + side / 2, edge + side + 22, "false positive rate", SOFT, 11, "middle"))
    parts.append(_text(8, 36, "true positive rate", SOFT, 9) if whole is None else "")
    return _svg(int(side + 2 * edge), int(side + 2 * edge), "ROC curve of the barrier's status", parts)


def _svg(width: int, height: int, name: str, parts: list[str]) -> str:
    look = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}" font-family="system-ui, sans-serif"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {look}>{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, fill: str, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
    )
