"""Gliomas: core, necrosis, cyst, blood, oedema along white matter, and where contrast agent would gather.

Geometry and texture never see the BBB status; it decides the agent's concentration and the label's name alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from simulations.phantom.anatomy import Anatomy
from simulations.phantom.fields import Array, Grid, sigmoid, smooth_field
from simulations.phantom.patient import Tumour
from simulations.phantom.tissue import Compartment, Tissue

DISRUPTED_MM = (np.log(0.28), 0.55)
INTACT_MM = (np.log(0.012), 0.5)
"""Mean and deviation of the log concentration (mM) in solid tumour."""


@dataclass(frozen=True)
class Lesion:
    """A glioma at the M voxels that it touches.

    Attributes:
        members: (M,) indices into the anatomy's voxels.
        parts: (5, M) fractions of the compartments; what is left of each voxel is normal tissue.
        leak: (M,) share of the solid tumour whose vessels would leak if the barrier is disrupted.
        textures: (2, M) random fields of unit deviation: relaxation, and uptake.
    """

    members: NDArray[np.intp]
    parts: Array
    leak: Array
    textures: Array

    @property
    def core(self) -> Array:
        """Fraction of tumour core, (M,)."""
        return np.asarray(self.parts[Compartment.SOLID :].sum(axis=0))

    def concentration(self, disrupted: bool) -> Array:
        """Return the agent's concentration in solid tumour, mM, (M,)."""
        mean, deviation = INTACT_MM
        tight = np.exp(np.float32(mean) + np.float32(deviation) * self.textures[1])
        if not disrupted:
            return np.asarray(tight)
        mean, deviation = DISRUPTED_MM
        loose = np.minimum(np.exp(np.float32(mean) + np.float32(deviation) * self.textures[1]), np.float32(0.8))
        return np.asarray(tight + self.leak * loose)


def grow_lesion(rng: np.random.Generator, anatomy: Anatomy, tumour: Tumour) -> Lesion:
    """Grow `tumour` into `anatomy`; `rng` decides its irregularity and texture."""
    grid = anatomy.grid
    offset = anatomy.points_mm - np.array(tumour.centre_mm, dtype=np.float32)[:, None]
    level = _level(rng, anatomy, offset, tumour.radius_mm)
    free = anatomy.brain * (1 - 0.95 * anatomy.fractions[Tissue.CSF])
    core = sigmoid((1 - level) * np.float32(tumour.radius_mm / max(0.8, 0.35 * grid.spacing_mm))) * free
    core[level > 2] = 0
    arrival = travel_time(anatomy, core > 0.5, tumour.reach_mm)
    fringe = smooth_field(rng, grid, 9.0).ravel()[anatomy.voxels]
    oedema = sigmoid((tumour.reach_mm * (1 + 0.3 * fringe) - arrival) / np.float32(1.5)) * free * (1 - core)
    oedema *= 1 - 0.35 * np.clip(arrival / tumour.reach_mm, 0, 1)
    oedema[~np.isfinite(arrival)] = 0
    members = np.flatnonzero(core + oedema > 0.02)
    chosen = anatomy.voxels[members]
    level, core = level[members], core[members]
    necrosis, cyst, blood = _cavities(rng, grid, chosen, offset[:, members], level, tumour)
    parts = np.zeros((len(Compartment), len(members)), dtype=np.float32)
    parts[Compartment.OEDEMA] = oedema[members]
    parts[Compartment.CYST] = core * cyst
    parts[Compartment.BLOOD] = core * (1 - cyst) * blood
    parts[Compartment.NECROSIS] = core * (1 - cyst) * (1 - blood) * necrosis
    parts[Compartment.SOLID] = core * (1 - cyst) * (1 - blood) * (1 - necrosis)
    patches = smooth_field(rng, grid, 8.0).ravel()[chosen]
    leak = sigmoid((patches + np.float32(3 * (0.5 - tumour.patchiness))) / np.float32(0.15))
    if tumour.patchiness > 0 and leak.max(initial=0) < 0.9:
        leak = np.maximum(leak, 0.9)
    textures = np.stack([_texture(rng, grid, chosen), smooth_field(rng, grid, 6.0).ravel()[chosen]])
    return Lesion(members, parts, leak.astype(np.float32), textures)


def _texture(rng: np.random.Generator, grid: Grid, chosen: NDArray[np.intp]) -> Array:
    """Field of unit deviation with features of 3 to 20 mm, the smaller the fainter."""
    weights = {20.0: 0.62, 10.0: 0.55, 5.5: 0.44, 3.0: 0.34}
    return np.asarray(sum(np.float32(w) * smooth_field(rng, grid, knot).ravel()[chosen] for knot, w in weights.items()))


def _level(rng: np.random.Generator, anatomy: Anatomy, offset: Array, radius_mm: float) -> Array:
    """Distance from the centre as a share of the radius, stretched and dented; the core is where it is below 1."""
    stretch = np.exp(rng.normal(0, 0.15, 3)).astype(np.float32)
    stretch /= np.cbrt(stretch.prod())
    distance = np.sqrt(((offset / (radius_mm * stretch[:, None])) ** 2).sum(axis=0))
    dents = np.float32(0.20) * smooth_field(rng, anatomy.grid, radius_mm)
    dents += np.float32(0.09) * smooth_field(rng, anatomy.grid, 0.4 * radius_mm)
    return np.asarray(distance + dents.ravel()[anatomy.voxels], dtype=np.float32)


def _cavities(
    rng: np.random.Generator, grid: Grid, chosen: NDArray[np.intp], offset: Array, level: Array, tumour: Tumour
) -> tuple[Array, Array, Array]:
    """Return the shares of necrosis, cyst and blood in the core's voxels."""
    edge = np.float32(max(0.8, 0.35 * grid.spacing_mm) / tumour.radius_mm)
    rough = smooth_field(rng, grid, 7.0).ravel()[chosen]
    clots = smooth_field(rng, grid, 6.0).ravel()[chosen]
    direction = rng.standard_normal(3)
    place = np.asarray(direction / np.linalg.norm(direction) * 0.4 * tumour.radius_mm, dtype=np.float32)
    nothing = np.zeros(len(chosen), dtype=np.float32)
    necrosis = sigmoid((tumour.necrosis + 0.10 * rough - level) / edge) if tumour.necrosis else nothing
    away = np.sqrt(((offset - place[:, None]) ** 2).sum(axis=0)) / np.float32(tumour.radius_mm)
    cyst = sigmoid((tumour.cyst - away) / edge) if tumour.cyst else nothing
    blood = sigmoid((clots - 1.5) / np.float32(0.15)) * sigmoid((0.8 - level) / edge) if tumour.bleeding else nothing
    return necrosis, cyst, blood.astype(np.float32)


def travel_time(anatomy: Anatomy, core: NDArray[np.bool_], reach_mm: float) -> Array:
    """Return the millimetres of white matter that separate each voxel from the core, infinity beyond reach.

    Fast marching: fluid runs freely along white matter, hardly through grey matter, and not through ventricles.
    """
    arrival = np.full(len(anatomy.voxels), np.inf, dtype=np.float32)
    inside = anatomy.volume(core)
    if not core.any():
        return arrival
    margin = int(np.ceil(1.6 * reach_mm / anatomy.grid.spacing_mm)) + 2
    box = tuple(slice(max(0, int(found.min()) - margin), int(found.max()) + margin + 1) for found in np.nonzero(inside))
    speed = anatomy.volume(_speed(anatomy))[box]
    seeds = [tuple(int(step) for step in point[::-1]) for point in np.argwhere(_shell(inside[box]))]
    image = SimpleITK.GetImageFromArray(np.where(inside[box], np.float32(1), speed))
    image.SetSpacing((anatomy.grid.spacing_mm,) * 3)
    marched = SimpleITK.GetArrayFromImage(SimpleITK.FastMarching(image, seeds, 1.0, 1.6 * reach_mm + 4))
    whole = np.full(anatomy.grid.shape, np.inf, dtype=np.float32)
    whole[box] = np.where(marched < 1e6, marched, np.inf)
    whole[inside] = 0
    return np.asarray(whole.ravel()[anatomy.voxels], dtype=np.float32)


def _speed(anatomy: Anatomy) -> Array:
    white = anatomy.fractions[Tissue.WHITE]
    solid = 1 - anatomy.fractions[Tissue.CSF] - anatomy.fractions[Tissue.VESSEL]
    return np.asarray(anatomy.brain * np.clip(white**2 + 0.15 * solid, 0.01, 1.0), dtype=np.float32)


def _shell(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of `inside` with a neighbour outside, along any axis."""
    padded = np.pad(inside, 1)
    middle = (slice(1, -1),) * 3
    interior = padded[middle].copy()
    for axis in range(3):
        for step in (-1, 1):
            interior &= np.roll(padded, step, axis)[middle]
    return np.asarray(inside & ~interior)
