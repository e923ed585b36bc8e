"""One patient's head: the template with size, folds and vessels of its own, pushed aside by the tumour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulations.phantom import template as maps
from simulations.phantom.fields import Array, Grid, sigmoid, smooth_field
from simulations.phantom.template import Template
from simulations.phantom.tissue import Tissue

Scalar = TypeVar("Scalar", bound=np.generic)

WARP_SCALES_MM = ((52.0, 3.4), (24.0, 1.8), (13.0, 0.7))
"""Knot distance and deviation of the displacement field, coarse to fine."""

MEAN_SIZE = 0.94
"""The template is larger than most brains."""

SMALLEST_JACOBIAN = 0.2
PEELED_MM = 1.0
"""How far inside the template's mask the brain's surface lies; the mask includes the fluid around it."""

SULCUS_LEVEL_MM = 8.0
"""Depth at which the folds are drawn; they run from there straight to the surface and inwards."""

YIELDING_MM = 18.0
"""Depth below the surface at which mass effect has its full size; the surface itself is held by the skull."""


@dataclass(frozen=True)
class MassEffect:
    """Tissue displaced by a sphere of `radius_mm` at `centre_mm`: r_source³ = r³ − strength radius³."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    strength: float


@dataclass(frozen=True)
class Anatomy:
    """Normal tissue of one patient at the N voxels that hold any (brain, or head with skull).

    Attributes:
        grid: the voxel grid.
        voxels: (N,) flat indices of these voxels.
        brain: (N,) bool, voxels of the brain including its fluid.
        fractions: (12, N) tissue fractions in the order of `Tissue`, summing to 1.
        points_mm: (3, N) where each voxel lies in the template, before mass effect.
        depth_mm: (N,) distance to the brain's surface.
    """

    grid: Grid
    voxels: NDArray[np.intp]
    brain: NDArray[np.bool_]
    fractions: Array
    points_mm: Array
    depth_mm: Array

    def volume(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return `values` (N,) as a volume (I, J, K), zero elsewhere."""
        flat = np.zeros(int(np.prod(self.grid.shape)), dtype=values.dtype)
        flat[self.voxels] = values
        return flat.reshape(self.grid.shape)


def build_anatomy(
    rng: np.random.Generator, grid: Grid, template: Template, mass: MassEffect | None, with_skull: bool = False
) -> Anatomy:
    """Draw one patient's anatomy on `grid`; `rng` alone decides which."""
    points = warp(rng, grid)
    shape = grid.shape
    index = template.index(points.reshape(3, -1))
    column = ndimage.map_coordinates(template.depth_mm, index, order=1, mode="nearest") - np.float32(PEELED_MM)
    below = np.maximum(template.first_mm[2] - points[2].ravel(), 0)
    depth = column - below
    outward = _outward(depth.reshape(shape), grid.spacing_mm)
    drawn = _head_extent(rng, points) if with_skull else None
    voxels = np.flatnonzero(column > -drawn if drawn is not None else depth > 0)
    points, depth = points.reshape(3, -1)[:, voxels], depth[voxels]
    pushed = push(points, depth, mass) if mass is not None else points
    sampled = _sample(template, pushed)
    fractions = np.zeros((len(Tissue), len(voxels)), dtype=np.float32)
    fractions[: Tissue.VESSEL] = sampled[: maps.CORTEX]
    _carve_sulci(rng, grid, voxels, fractions, sampled[maps.CORTEX], depth, outward[:, voxels])
    _draw_vessels(rng, grid, voxels, fractions, points, depth)
    _mottle(rng, grid, voxels, fractions)
    brain = depth > 0
    lacking = np.clip(1 - fractions.sum(axis=0), 0, 1)
    fractions[Tissue.CSF] += np.where(brain, lacking, 0)
    if drawn is not None:
        _wrap_in_skull(fractions, points, depth, (drawn + column)[voxels])
    fractions /= np.maximum(fractions.sum(axis=0), np.float32(1e-6))
    return Anatomy(grid, voxels, brain, fractions, points, depth)


def warp(rng: np.random.Generator, grid: Grid) -> Array:
    """Return the template point (mm) of every voxel, (3, I, J, K): size, pose and a smooth one-to-one deformation."""
    sizes = MEAN_SIZE * rng.normal(1.0, 0.025, 3) * rng.normal(1.0, 0.02)
    linear = (_rotation(rng.normal(0, 3.0, 3)) / np.clip(sizes, 0.84, 1.04)[:, None]).astype(np.float32)
    displacement = np.zeros((3, *grid.shape), dtype=np.float32)
    for knot_mm, deviation_mm in WARP_SCALES_MM:
        for component in displacement:
            component += smooth_field(rng, grid, knot_mm) * np.float32(deviation_mm)
    while smallest_jacobian(linear, displacement, grid.spacing_mm) < SMALLEST_JACOBIAN:
        displacement *= np.float32(0.8)
    x, y, z = (grid.axis_mm(axis) for axis in range(3))
    for row, component in zip(linear, displacement, strict=True):
        component += (row[0] * x)[:, None, None] + (row[1] * y)[None, :, None] + (row[2] * z)[None, None, :]
    return displacement


def smallest_jacobian(linear: Array, displacement: Array, spacing_mm: float) -> float:
    """Return the smallest Jacobian determinant of p → linear p + displacement(p), sampled every 4 mm or finer."""
    step = max(1, int(4 // spacing_mm))
    coarse = displacement[:, ::step, ::step, ::step]
    jacobian = np.empty((3, 3, *coarse.shape[1:]), dtype=np.float32)
    for component in range(3):
        for axis, slope in enumerate(np.gradient(coarse[component], spacing_mm * step)):
            jacobian[component, axis] = slope + linear[component, axis]
    (a, b, c), (d, e, f), (g, h, i) = jacobian
    return float((a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)).min())


def push(points: Array, depth: Array, mass: MassEffect) -> Array:
    """Return where the tissue at `points` (3, N) was before the tumour grew; nothing moves at the brain's surface."""
    centre = np.array(mass.centre_mm, dtype=np.float32)[:, None]
    offset = points - centre
    radius = np.sqrt((offset**2).sum(axis=0)) + np.float32(1e-3)
    source = np.cbrt(np.maximum(radius**3 - np.float32(mass.strength * mass.radius_mm**3), (0.15 * radius) ** 3))
    held = np.clip(depth / YIELDING_MM, 0, 1)
    return np.asarray(centre + offset * (1 + held * (source / radius - 1)), dtype=np.float32)


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i] = np.sin(angle)
        turn[i, j] = -turn[j, i]
        rotation = rotation @ turn
    return rotation


def _sample(template: Template, points_mm: Array) -> Array:
    """Trilinear samples of all channels at `points_mm` (3, N), (8, N); air beyond the template."""
    limit = np.array(template.depth_mm.shape, dtype=np.float32)[:, None] - np.float32(1.001)
    index = np.clip(template.index(points_mm), 0, limit)
    base = index.astype(np.intp)
    weight = index - base
    j_stride, k_size = template.depth_mm.shape[1] * template.depth_mm.shape[2], template.depth_mm.shape[2]
    flat = template.channels_last
    start = base[0] * j_stride + base[1] * k_size + base[2]
    total = np.zeros((points_mm.shape[1], flat.shape[1]), dtype=np.float32)
    for corner in range(8):
        i, j, k = corner >> 2, corner >> 1 & 1, corner & 1
        share = np.ones(points_mm.shape[1], dtype=np.float32)
        for axis, upper in enumerate((i, j, k)):
            share *= weight[axis] if upper else 1 - weight[axis]
        total += flat[start + i * j_stride + j * k_size + k] * share[:, None]
    return np.ascontiguousarray(total.T)


def _outward(depth: Array, spacing_mm: float) -> Array:
    """Unit normals of the surfaces of equal depth, pointing out of the brain, (3, I J K)."""
    slopes = np.stack([slope.ravel() for slope in np.gradient(depth, spacing_mm)])
    return np.asarray(-slopes / np.maximum(np.sqrt((slopes**2).sum(axis=0)), np.float32(0.3)), dtype=np.float32)


def _carve_sulci(
    rng: np.random.Generator,
    grid: Grid,
    voxels: NDArray[np.intp],
    fractions: Array,
    cortex: Array,
    depth: Array,
    outward: Array,
) -> None:
    """Fold the cortex along the zero lines of a random field: fluid in the fold, grey matter on both its sides.

    The field is read where a voxel's normal meets one level below the surface, so that folds stand upright on it.
    """
    field = smooth_field(rng, grid, 12.0)
    steepness = np.sqrt(sum(slope**2 for slope in np.gradient(field, grid.spacing_mm)))
    place = np.stack(np.unravel_index(voxels, grid.shape)).astype(np.float32)
    place += outward * ((depth - SULCUS_LEVEL_MM) / np.float32(grid.spacing_mm))
    level, slope = (ndimage.map_coordinates(part, place, order=1, mode="nearest") for part in (field, steepness))
    distance = np.abs(level) / (slope + np.float32(0.03))
    own = cortex * sigmoid(3 * smooth_field(rng, grid, 34.0).ravel()[voxels] + 1)
    width_mm = rng.uniform(0.3, 1.0)
    opening = width_mm * np.clip(1.3 - depth / 20, 0.2, 1.3)
    ribbon = own * sigmoid((3.0 + width_mm - distance) / np.float32(0.6))
    groove = own * sigmoid((opening - distance) / np.float32(0.35))
    turned = fractions[Tissue.WHITE] * ribbon
    fractions[Tissue.WHITE] -= turned
    fractions[Tissue.GREY] += turned
    room = fractions[: Tissue.VESSEL].sum(axis=0)
    fractions[: Tissue.VESSEL] *= 1 - groove
    fractions[Tissue.CSF] += groove * room


def _draw_vessels(
    rng: np.random.Generator, grid: Grid, voxels: NDArray[np.intp], fractions: Array, points: Array, depth: Array
) -> None:
    """Add cortical veins (lines where two random fields vanish), the sagittal sinus and the choroid plexus."""
    lines = np.hypot(smooth_field(rng, grid, 13.0), smooth_field(rng, grid, 13.0)).ravel()[voxels]
    shallow = sigmoid((9 - depth) / 2)
    veins = 0.8 * shallow * sigmoid((np.float32(0.15) - lines) / np.float32(0.05))
    x, y, z = points
    sinus = 0.8 * sigmoid(3.0 - np.abs(x)) * sigmoid(3.5 - depth) * sigmoid((z - 5) / 3) * (np.abs(x) < 8)
    plexus_zone = (
        sigmoid((depth - 24) / 2) * sigmoid((np.abs(x) - 9) / 2) * sigmoid((-12 - y) / 3) * sigmoid((y + 46) / 3)
    )
    plexus = 0.6 * plexus_zone * fractions[Tissue.CSF] * sigmoid((0.35 - lines) / np.float32(0.15))
    blood = np.clip(veins + sinus + plexus, 0, 0.9) * (depth > 0)
    fractions *= 1 - blood
    fractions[Tissue.VESSEL] += blood


def _mottle(rng: np.random.Generator, grid: Grid, voxels: NDArray[np.intp], fractions: Array) -> None:
    """Mix white and grey matter unevenly by a few per cent, as myelination does, and age differs between patients."""
    uneven = smooth_field(rng, grid, 22.0) + np.float32(0.7) * smooth_field(rng, grid, 7.0)
    share = np.clip(0.06 + np.float32(0.035) * uneven.ravel()[voxels] + rng.normal(0, 0.02), 0, 0.25)
    moved = share * fractions[Tissue.WHITE]
    fractions[Tissue.WHITE] -= moved
    fractions[Tissue.GREY] += moved


def _head_extent(rng: np.random.Generator, points: Array) -> Array:
    """Return how far the head reaches beyond the brain at each voxel, mm, (I J K): thicker at the face and the neck."""
    x, y, z = points.reshape(3, -1)
    reach = 88 - np.abs(x) ** 2 / 110
    face = sigmoid((y - 15) / 8) * sigmoid((-30 - z) / 4) * sigmoid((reach - y) / 2)
    nape = sigmoid((-30 - y) / 8) * sigmoid((-50 - z) / 6)
    return np.asarray(rng.uniform(14, 18) + 32 * face + 12 * nape, dtype=np.float32)


def _wrap_in_skull(fractions: Array, points: Array, depth: Array, skin_mm: Array) -> None:
    """Fill the shells around the brain: fluid, bone with marrow between its tables, muscle and fat; eyes in the face.

    `skin_mm` is the distance from the skin.
    """
    beyond = -depth
    outside = depth <= 0
    x, y, z = points
    fluid = sigmoid((1.5 - beyond) / np.float32(0.5))
    bone = sigmoid((8.0 - beyond) / np.float32(0.5)) - fluid
    marrow = bone * 0.8 * np.exp(-(((beyond - 4.8) / np.float32(1.5)) ** 2))
    temple = sigmoid((18 - z) / 5) * sigmoid((np.abs(x) - 45) / 4)
    deep = sigmoid((skin_mm - 6) / 2) * sigmoid((-30 - z) / 6)
    scalp = 1 - fluid - bone
    lipid = scalp * np.clip(0.75 - 0.6 * temple - 0.65 * deep, 0.05, 1)
    eye = sigmoid((12 - np.sqrt((np.abs(x) - 32) ** 2 + (y - 60) ** 2 + (z + 38) ** 2)) / np.float32(0.6))
    shells = {
        Tissue.CSF: fluid,
        Tissue.BONE: bone - marrow,
        Tissue.MARROW: marrow,
        Tissue.FAT: lipid,
        Tissue.MUSCLE: scalp - lipid,
    }
    for tissue, shell in shells.items():
        fractions[tissue, outside] = (shell * (1 - eye))[outside]
    fractions[Tissue.CSF, outside] += eye[outside]
