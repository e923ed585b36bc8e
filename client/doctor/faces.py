"""Whether a volume seems to show a face: a heuristic on where the head ends in front, told for what it is.

Below an intact forehead nose, lips and chin reach about as far forward as the forehead does. Where a face was
removed, or all but the brain, the front recedes there by centimetres. Heads that nod by more than some 15 degrees, and
volumes that end above the eyes, are judged as if they had no face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.brain_mask import stripped_brain
from common.shapes import Affine

STEP_MM = 4.0
DARK = 0.12
"""Of the bright greys: what is darker is air, or noise in it."""
MIDDLE_MM = 30.0
"""Half the width of the strip over nose and forehead."""
FOREHEAD_MM, FACE_MM = (45.0, 80.0), (105.0, 150.0)
"""Below the top of the head."""
SEEN_MM = 15.0
"""How much of the face must be in view to be judged."""
RECEDES_MM = 15.0


def shows_face(volume: NDArray[np.float32], affine: Affine) -> bool:
    """Say whether a volume (I, J, K) in RAS+ axis order seems to show a face."""
    volume = np.nan_to_num(volume, posinf=0.0, neginf=0.0)  # one bad voxel hides no face; an infinity is no grey
    if stripped_brain(volume, affine) is not None:
        return False
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    stride = tuple(slice(None, None, max(1, round(STEP_MM / step))) for step in spacing)
    head = _head(volume[stride])
    if head is None:
        return False
    spacing = spacing * [each.step or 1 for each in stride]
    fronts = _fronts_mm(head, spacing)
    forehead, face = (fronts[(fronts[:, 0] >= low) & (fronts[:, 0] < high), 1] for low, high in (FOREHEAD_MM, FACE_MM))
    if not len(forehead) or len(face) * spacing[2] < SEEN_MM:
        return False
    return bool(np.quantile(face, 0.75) >= np.median(forehead) - RECEDES_MM)


def _head(volume: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return the largest bright part of a volume, None where there is none."""
    lit = volume[volume > 0]
    if not lit.size:
        return None
    parts, count = ndimage.label(volume > DARK * np.quantile(lit, 0.98))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax()) if count else None


def _fronts_mm(head: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of (millimetres below the top, how far forward the head reaches in its middle strip)."""
    across = np.flatnonzero(head.any(axis=(1, 2))) * spacing[0]
    middle = np.abs(np.arange(head.shape[0]) * spacing[0] - (across[0] + across[-1]) / 2) <= MIDDLE_MM
    strip = head[middle].any(axis=0)
    levels = np.flatnonzero(strip.any(axis=0))
    top = np.flatnonzero(head.any(axis=(0, 1)))[-1]
    fronts = [np.flatnonzero(strip[:, level])[-1] for level in levels]
    return np.stack([(top - levels) * spacing[2], np.array(fronts) * spacing[1]], axis=1)
