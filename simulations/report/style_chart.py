"""A map of style codes as inline SVG: one plane, coloured in four ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from common.sequences import Sequence
from simulations.comparison.style_codes import StyleCode
from simulations.report.charts import COLOURS, Frame

HUES = (*COLOURS, "#4b6b8a", "#c2a23a", "#8a8f94", "#1f9e89", "#a85c32")
SEQUENCE_COLOURS = {sequence.value: hue for sequence, hue in zip(Sequence, HUES, strict=True)}
STATE_COLOURS = {"real": "#16232b", "drawn": "#d9682b"}
PART_COLOURS = {"brain": "#8a8f94", "lesion": "#b03a5b"}
SIDE, TITLE, LEGEND_LINE = 240, 20, 13


def style_charts(
    codes: tuple[StyleCode, ...], places: NDArray[np.float32], site_colours: Mapping[str, str]
) -> list[str]:
    """Return a map, places (N, 2), by target sequence, target hospital, real or drawn, and brain or lesion."""
    panels: list[tuple[str, Mapping[str, str], Callable[[StyleCode], str]]] = [
        ("by sequence", SEQUENCE_COLOURS, lambda code: code.domain.sequence.value),
        ("by hospital", site_colours, lambda code: code.domain.site),
        ("real or drawn", STATE_COLOURS, lambda code: "drawn" if code.drawn else "real"),
        ("brain or lesion", PART_COLOURS, lambda code: "lesion" if code.domain.lesion else "brain"),
    ]
    return [_panel(title, places, colours, [name(code) for code in codes]) for title, colours, name in panels]


def _panel(title: str, places: NDArray[np.float32], colours: Mapping[str, str], names: list[str]) -> str:
    """Draw one panel: all codes, one path a colour, with its legend below."""
    shown = [name for name in colours if name in names]
    (left, bottom), (right, top) = places.min(axis=0), places.max(axis=0)
    lines = -(-len(shown) // 3)
    height = TITLE + SIDE + 8 + lines * LEGEND_LINE
    frame = Frame(SIDE, height, (left, right), (bottom, top), margin=(6, TITLE + 6, height - TITLE - SIDE + 6, 6))
    parts = [frame.open(f"style codes {title}"), f'<text class="chart-title" x="6" y="14">{escape(title)}</text>']
    parts.append(f'<rect x="0.5" y="{TITLE}" width="{SIDE - 1}" height="{SIDE}" fill="none" stroke="#d5dde1"/>')
    for name in shown:
        own = [place for place, each in zip(places, names, strict=True) if each == name]
        path = "".join(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0" for x, y in own)
        parts.append(
            f'<path d="{path}" stroke="{colours[name]}" stroke-width="3.6" stroke-linecap="round" stroke-opacity="0.7">'
            f"<title>{escape(name)}</title></path>"
        )
    for number, name in enumerate(shown):
        x, y = 6 + number % 3 * (SIDE / 3), TITLE + SIDE + 14 + number // 3 * LEGEND_LINE
        parts.append(f'<circle cx="{x + 3:.0f}" cy="{y - 3}" r="3" fill="{colours[name]}"/>')
        parts.append(f'<text class="tick" x="{x + 9:.0f}" y="{y}">{escape(name)}</text>')
    return "".join(parts) + "</svg>"
