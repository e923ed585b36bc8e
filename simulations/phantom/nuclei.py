"""Deep grey nuclei as soft ellipsoids and arcs at their MNI coordinates; the template's maps hardly show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

EDGE = 0.16
"""Width of a nucleus' soft edge as a share of its radius."""

# centre (|x|, y, z) and radii in MNI mm, turn in the axial plane in degrees (positive: the front end points inwards)
_CAUDATE = (
    ((12.5, 16, 4), (5.0, 9.0, 9.0), 12.0),
    ((14.5, 4, 15), (4.2, 10.0, 6.0), 16.0),
    ((17.5, -10, 21), (3.2, 9.0, 4.0), 16.0),
)
_PUTAMEN = (((25.5, 3, 1), (4.6, 14.5, 9.5), 17.0),)
_PALLIDUM = (((19.5, -3.5, -1), (3.8, 8.0, 6.0), 28.0),)
_THALAMUS = (((11.0, -18, 7.5), (7.6, 12.5, 8.0), 28.0),)


def draw_nuclei(x_mm: Array, y_mm: Array, z_mm: Array) -> Array:
    """Return the fractions of caudate, putamen, pallidum and thalamus, (4, I, J, K), on the MNI grid of these axes."""
    x, y, z = x_mm[:, None, None], y_mm[None, :, None], z_mm[None, None, :]
    shape = (len(x_mm), len(y_mm), len(z_mm))
    drawn = []
    taken = np.zeros(shape, dtype=np.float32)
    for parts in (_PALLIDUM, _PUTAMEN, _CAUDATE, _THALAMUS):
        nucleus = np.zeros(shape, dtype=np.float32)
        for centre, radii, turn_deg in parts:
            nucleus = np.maximum(nucleus, _ellipsoid(x, y, z, centre, radii, turn_deg))
        nucleus *= 1 - taken
        taken += nucleus
        drawn.append(nucleus)
    pallidum, putamen, caudate, thalamus = drawn
    return np.stack([caudate, putamen, pallidum, thalamus])


def _ellipsoid(
    x: Array, y: Array, z: Array, centre: tuple[float, float, float], radii: tuple[float, float, float], turn_deg: float
) -> Array:
    """Soft ellipsoid on both sides of the midline."""
    across, along, up = np.abs(x) - centre[0], y - centre[1], z - centre[2]
    sine, cosine = np.sin(np.deg2rad(turn_deg)), np.cos(np.deg2rad(turn_deg))
    u = (across * cosine + along * sine) / radii[0]
    v = (along * cosine - across * sine) / radii[1]
    radius = np.sqrt(u**2 + v**2 + (up / radii[2]) ** 2)
    return np.asarray(np.clip((1 + EDGE - radius) / (2 * EDGE), 0, 1), dtype=np.float32)
