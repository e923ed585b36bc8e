"""Slices as PNG pictures that live inside the report: greys, signed differences, and tumour overlays.

All functions take planes (H, W) as the cache holds them and turn them nose up; pictures of one row share one crop.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.metrics.fidelity import to_greys

Plane = NDArray[np.floating]
DIFFERENCE_LIMIT = 60.0
"""Grey levels at which the colours of a difference map end."""

NEGATIVE, POSITIVE = np.array([64.0, 156.0, 255.0]), np.array([255.0, 140.0, 40.0])
LABEL_COLOURS = {1: (235, 80, 80), 2: (80, 190, 120), 4: (250, 215, 70)}
"""NCR red, ED green, ET yellow."""

OVERLAY_OPACITY = 0.45


@dataclass(frozen=True)
class Tile:
    """One picture as a data URI, with what stands under it; `strong` marks what a model drew."""

    caption: str
    source: str
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """Pictures of one slice of one patient, side by side."""

    site: str
    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report, section by section."""

    translation: tuple[Row, ...] = ()
    hypotheses: tuple[Row, ...] = ()
    segmentation: tuple[Row, ...] = ()
    maps: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Crop:
    """The window of a plane that holds the brain, with a margin."""

    rows: slice
    columns: slice

    def __call__(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the window, turned nose up."""
        return np.rot90(plane[self.rows, self.columns])


def crop_to(brain: NDArray[np.bool_], margin: int = 2) -> Crop:
    """Return the window around `brain`; the whole plane where it is empty."""
    if not brain.any():
        return Crop(slice(None), slice(None))
    sides = []
    for axis in (1, 0):
        line = np.flatnonzero(brain.any(axis=axis))
        sides.append(slice(max(0, int(line[0]) - margin), int(line[-1]) + 1 + margin))
    return Crop(*sides)


def grey_tile(image: Plane, crop: Crop, caption: str, *, strong: bool = False) -> Tile:
    """Show network values in [-1, 1] as greys."""
    return Tile(caption, _png(_greys(crop(image))), strong)


def difference_tile(image: Plane, reference: Plane, brain: NDArray[np.bool_], crop: Crop, caption: str) -> Tile:
    """Show image - reference inside the brain: orange where brighter, blue where darker, black where equal."""
    change = np.where(brain, to_greys(image) - to_greys(reference), 0.0) / DIFFERENCE_LIMIT
    size = np.clip(np.abs(crop(change)), 0, 1)[..., None]
    colour = np.where(crop(change)[..., None] > 0, POSITIVE, NEGATIVE)
    return Tile(caption, _png((size * colour).astype(np.uint8)))


def overlay_tile(
    image: Plane,
    labels: NDArray[np.integer],
    outline: NDArray[np.bool_] | None,
    crop: Crop,
    caption: str,
    *,
    strong: bool = False,
) -> Tile:
    """Tint `labels` (0 / 1 NCR / 2 ED / 4 ET) over greys and draw the edge of `outline` in white."""
    picture = np.repeat(_greys(crop(image))[..., None], 3, axis=2).astype(np.float64)
    shown = crop(labels)
    for value, colour in LABEL_COLOURS.items():
        inside = shown == value
        picture[inside] = (1 - OVERLAY_OPACITY) * picture[inside] + OVERLAY_OPACITY * np.array(colour)
    if outline is not None:
        picture[crop(_edge(outline))] = 255
    return Tile(caption, _png(picture.astype(np.uint8)), strong)


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of `mask` with a neighbour outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = mask & ~inner
    return edge


def _greys(plane: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(np.round(to_greys(plane.astype(np.float64))), 0, 255).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> str:
    """Return pixels (H, W) or (H, W, 3) as a data URI, enlarged so that browsers need not guess between voxels."""
    height, width = pixels.shape[:2]
    factor = max(1, round(220 / max(height, width)))
    picture = Image.fromarray(pixels).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
