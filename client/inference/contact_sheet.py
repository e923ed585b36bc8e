"""A contact sheet: one axial slice of all that a case had and all that was drawn for it, stamped and labelled."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.files import write_whole

GREY_WINDOW = (-1.0, 0.6)
"""Normalised greys shown as black and white; brain tissue lies at -0.4 … 0.3, enhancement and fluid up to 0.6."""

DIFFERENCE_RANGE = 60.0
"""Grey levels of 255 shown in full colour on a difference panel."""

DIFFERENCE_COLOURS = LinearSegmentedColormap.from_list(
    "difference", ["#46c8ff", "#0b3a66", "#000000", "#7a2a10", "#ff8a3c"]
)
LABEL_COLOURS = {2: "#3fa7ff", 1: "#ffd23f", 4: "#ff4f4f"}
LABEL_NAMES = {2: "oedema", 1: "core", 4: "enhancing"}
SYNTHETIC_COLOUR = "#ff9d2e"
CHOSEN_COLOUR = "#4be08a"
PANEL_INCHES = 2.3
DPI = 110
LETTERS_PER_INCH = 13


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet.

    Attributes:
        title: the line above it.
        image: axial plane (I, J) in [-1, 1], or of grey levels where `difference`; None leaves the place empty.
        stamp: what is stamped on it: SYNTHETIC or PREDICTED, or nothing on a real image.
        labels: tumour labels (I, J) drawn over the image.
        difference: a signed difference, shown in colour.
        chosen: framed as the hypothesis that the release takes.
        note: what stands in an empty place.
    """

    title: str
    image: NDArray[np.float32] | None = None
    stamp: str = ""
    labels: NDArray[np.uint8] | None = None
    difference: bool = False
    chosen: bool = False
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A named row of panels."""

    name: str
    panels: tuple[Panel, ...]


def write_sheet(path: Path, title: str, footer: str, rows: Items[Row], spacing_mm: tuple[float, float]) -> None:
    """Draw the rows, each left-aligned, and write them as one PNG.

    Args:
        path: the PNG; written aside and renamed.
        title: the first line.
        footer: the last lines; "Research use only" is added in front.
        rows: at least one row of at least one panel.
        spacing_mm: voxel size along I and J.
    """
    shape = next(panel.image.shape for row in rows for panel in row.panels if panel.image is not None)
    columns = max(len(row.panels) for row in rows)
    height_ratio = shape[1] * spacing_mm[1] / (shape[0] * spacing_mm[0])
    width = columns * PANEL_INCHES + 0.45
    row_inches = PANEL_INCHES * height_ratio + 0.28
    heading = [line for part in title.splitlines() for line in textwrap.wrap(part, round(width * LETTERS_PER_INCH))]
    head_inches = 0.22 + 0.19 * len(heading)
    height = head_inches + len(rows) * row_inches + 0.55
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    for number, row in enumerate(rows):
        top = 1 - (head_inches + number * row_inches) / height
        middle = top - row_inches / 2 / height
        figure.text(0.14 / width, middle, row.name, color="white", fontsize=9, rotation=90, ha="center", va="center")
        for column, panel in enumerate(row.panels):
            left = (0.38 + column * PANEL_INCHES) / width
            box = (left, top - row_inches / height, (PANEL_INCHES - 0.06) / width, (row_inches - 0.28) / height)
            _draw(figure.add_axes(box), panel, height_ratio)
    figure.text(
        0.38 / width, 1 - 0.1 / height, "\n".join(heading), color="white", fontsize=10, va="top", linespacing=1.3
    )
    note = f"RESEARCH USE ONLY. {footer}"
    figure.text(0.38 / width, 0.08 / height, note, color="#c8c8c8", fontsize=7.5, va="bottom", linespacing=1.35)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="black", metadata={"Software": None, "Description": note})
    write_whole(path, buffer.getvalue())


def radiological(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return an axial plane (I, J), RAS+, as a picture (rows, columns), nose up, the patient's right at the left."""
    return np.rot90(plane)[:, ::-1]


def _draw(axes: Axes, panel: Panel, height_ratio: float) -> None:
    axes.set_box_aspect(height_ratio)
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(CHOSEN_COLOUR if panel.chosen else "#303030")
        spine.set_linewidth(2.2 if panel.chosen else 0.6)
    axes.set_title(panel.title, color=CHOSEN_COLOUR if panel.chosen else "white", fontsize=8.5, pad=3)
    if panel.image is None:
        axes.text(0.5, 0.5, panel.note, color="#909090", fontsize=8, ha="center", va="center", transform=axes.transAxes)
        return
    picture = radiological(panel.image)
    if panel.difference:
        axes.imshow(picture, cmap=DIFFERENCE_COLOURS, vmin=-DIFFERENCE_RANGE, vmax=DIFFERENCE_RANGE, aspect="auto")
        scale = f"±{DIFFERENCE_RANGE:.0f} of 255"
        axes.text(0.98, 0.02, scale, color="#b0b0b0", fontsize=7, ha="right", va="bottom", transform=axes.transAxes)
    else:
        low, high = GREY_WINDOW
        axes.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="bilinear")
    if panel.labels is not None:
        axes.imshow(_colours(radiological(panel.labels)), aspect="auto", interpolation="nearest")
        _legend(axes)
    axes.text(0.02, 0.5, "R", color="#b0b0b0", fontsize=7, ha="left", va="center", transform=axes.transAxes)
    if panel.stamp:
        place = {"ha": "left", "va": "top", "transform": axes.transAxes, "fontsize": 8, "fontweight": "bold"}
        box = {"facecolor": "black", "alpha": 0.65, "edgecolor": "none", "pad": 1.2}
        axes.text(0.02, 0.985, panel.stamp, color=SYNTHETIC_COLOUR, bbox=box, **place)  # type: ignore[arg-type]


def _colours(labels: NDArray[np.generic], alpha: float = 0.5) -> NDArray[np.float64]:
    """Return RGBA (rows, columns, 4) of a label picture, transparent where there is no label."""
    painted = np.zeros((*labels.shape, 4))
    for value, colour in LABEL_COLOURS.items():
        painted[labels == value] = (*to_rgb(colour), alpha)
    return painted


def _legend(axes: Axes) -> None:
    for number, (value, colour) in enumerate(LABEL_COLOURS.items()):
        x = 0.02 + 0.32 * number
        axes.text(x, 0.02, LABEL_NAMES[value], color=colour, fontsize=7, va="bottom", transform=axes.transAxes)
