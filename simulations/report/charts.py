"""Line charts and ROC curves as inline SVG, in the report's own type and colours; no script, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0b6e8f", "#d9682b", "#6a4fa3", "#3f8f4f", "#b03a5b", "#7a6a1f")
"""Told apart under the common colour blindnesses; one a site, in the order of the study."""

Points = Sequence[tuple[float, float]]


def colour(number: int) -> str:
    """Return the colour of the site with this number."""
    return COLOURS[number % len(COLOURS)]


def line_chart(title: str, series: Mapping[str, Points], colours: Mapping[str, str], x_label: str = "round") -> str:
    """Draw one line a series over a shared, linear frame; a series of one point is drawn as a dot."""
    points = [point for line in series.values() for point in line if all(map(math.isfinite, point))]
    if not points:
        return ""
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = _bounds([y for _, y in points])
    frame = Frame(260, 150, (left, max(right, left + 1)), (low, high))
    parts = [frame.open(title), f'<text class="chart-title" x="44" y="14">{escape(title)}</text>']
    for value in (low, (low + high) / 2, high):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="44" x2="252" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="40" y="{y + 3:.1f}" text-anchor="end">{_short(value)}</text>')
    parts += [
        f'<text class="tick" x="{frame.x(value):.1f}" y="140" text-anchor="middle">{value:g}</text>'
        for value in sorted({left, right})
    ]
    parts.append(f'<text class="tick" x="148" y="140" text-anchor="middle">{escape(x_label)}</text>')
    parts += [_line(frame, line, colours.get(name, COLOURS[0]), name) for name, line in series.items()]
    return "".join(parts) + "</svg>"


def roc_chart(curves: Mapping[str, Points], colours: Mapping[str, str]) -> str:
    """Draw ROC curves on the unit square with the diagonal of chance."""
    frame = Frame(320, 320, (0.0, 1.0), (0.0, 1.0), margin=(44, 12, 40, 12))
    parts = [frame.open("ROC curves")]
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = frame.x(value), frame.y(value)
        parts.append(f'<line class="grid" x1="44" x2="308" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<line class="grid" y1="12" y2="280" x1="{x:.1f}" x2="{x:.1f}"/>')
        parts.append(f'<text class="tick" x="40" y="{y + 3:.1f}" text-anchor="end">{value:g}</text>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="294" text-anchor="middle">{value:g}</text>')
    parts.append('<text class="tick" x="176" y="312" text-anchor="middle">false positive rate</text>')
    parts.append(
        '<text class="tick" transform="translate(12 146) rotate(-90)" text-anchor="middle">true positive rate</text>'
    )
    parts.append(f'<path class="chance" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(1):.1f} {frame.y(1):.1f}"/>')
    parts += [_line(frame, line, colours.get(name, COLOURS[0]), name, dots=False) for name, line in curves.items()]
    return "".join(parts) + "</svg>"


class Frame:
    """A drawing of `width` x `height` whose inner box, inside (left, top, bottom, right) margins, spans two ranges."""

    def __init__(
        self,
        width: int,
        height: int,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        margin: tuple[int, int, int, int] = (44, 24, 26, 8),
    ) -> None:
        self.width, self.height = width, height
        self.x_range, self.y_range = x_range, y_range
        self.left, self.top, self.bottom, self.right = margin

    def x(self, value: float) -> float:
        """Return the horizontal place of `value`."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Return the vertical place of `value`, counted from the top."""
        low, high = self.y_range
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def open(self, name: str) -> str:
        """Return the opening tag."""
        return f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(name)}">'


def _line(frame: Frame, points: Points, stroke: str, name: str, *, dots: bool = True) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) if places else ""
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{stroke}"/>' for x, y in places if dots)
    return f'<g><title>{escape(name)}</title><path class="line" d="{path}" stroke="{stroke}"/>{circles}</g>'


def _bounds(values: list[float]) -> tuple[float, float]:
    """Return a range that holds `values`, from zero where that costs little."""
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    if high - low < 1e-9:
        margin = abs(high) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _short(value: float) -> str:
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 0.1
        else f"{value:.2g}"
    )
