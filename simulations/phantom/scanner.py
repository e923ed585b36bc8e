"""A hospital's scanner: from signal on the phantom's fine grid to a stored image with slices, bias and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulations.phantom.fields import Array, Grid
from simulations.scenario import Scanner

FWHM = 2.354820045


@dataclass(frozen=True)
class Acquisition:
    """The voxel grid of a scanner's images of one patient.

    Attributes:
        profile: (K fine, K stored) weights of fine slices in stored slices, None where they are the same.
        brain: (I, J, K) stored mask.
        held: (I, J, K) share of each stored voxel that holds any drawn tissue.
        affine: voxel to world mm, RAS+.
    """

    profile: Array | None
    brain: NDArray[np.bool_]
    held: Array
    affine: NDArray[np.float64]

    def average(self, volume: Array) -> Array:
        """Average a volume over each stored slice."""
        return volume if self.profile is None else np.asarray(volume @ self.profile)


def plan_acquisition(grid: Grid, scanner: Scanner, brain: NDArray[np.bool_], held: NDArray[np.bool_]) -> Acquisition:
    """Lay the scanner's slices over the patient."""
    profile = slice_profile(grid, scanner.slice_thickness_mm)
    steps = np.array(
        [grid.spacing_mm, grid.spacing_mm, scanner.slice_thickness_mm if profile is not None else grid.spacing_mm]
    )
    plain = Acquisition(profile, brain, held.astype(np.float32), _affine(grid, steps, scanner.tilt_deg))
    if profile is None:
        return plain
    share, thick = plain.average(held.astype(np.float32)), plain.average(brain.astype(np.float32))
    return Acquisition(profile, thick > 0.5, share, plain.affine)


def slice_profile(grid: Grid, thickness_mm: float | None) -> Array | None:
    """Return box profiles of slices without gaps, columns summing to 1; None where slices are as thin as voxels."""
    if thickness_mm is None or thickness_mm <= grid.spacing_mm * 1.01:
        return None
    count = int(grid.extent_mm[2] // thickness_mm)
    lower = np.arange(count) * thickness_mm
    edges = np.arange(grid.shape[2])[:, None] * grid.spacing_mm
    overlap = np.minimum(edges + grid.spacing_mm, lower + thickness_mm) - np.maximum(edges, lower)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)


def _affine(grid: Grid, steps_mm: NDArray[np.float64], tilt_deg: float) -> NDArray[np.float64]:
    """Voxels to world: template axes turned about the left-right axis by the tilt of the slices."""
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * steps_mm
    affine[:3, 3] = turn @ (np.array(grid.first_mm) + steps_mm / 2)
    return affine


def expose(
    rng: np.random.Generator, scanner: Scanner, plan: Acquisition, signal: Array, white: float, with_air: bool
) -> NDArray[np.int16]:
    """Turn a noise-free signed signal (I, J, K fine) into a stored magnitude image.

    Args:
        rng: stream of this image's bias field, gain and noise.
        scanner: the scanner.
        plan: its slices on this patient.
        signal: zero where no tissue was drawn.
        white: signal of white matter, the unit of SNR and intensity.
        with_air: keep what surrounds the head; otherwise all outside the brain is 0.
    """
    image = _resolve(scanner, plan, signal, with_air)
    gain = rng.normal(1.0, 0.06)
    image = image * _bias(rng, image.shape, scanner.bias)
    noise = _noise(rng, image.shape, np.float32(white / scanner.snr))
    magnitude = np.hypot(image + noise[0], noise[1]) * np.float32(gain * scanner.intensity / white)
    stored = np.clip(np.rint(magnitude), 1, 32767).astype(np.int16)
    return stored if with_air else np.where(plan.brain, stored, np.int16(0))


def _resolve(scanner: Scanner, plan: Acquisition, signal: Array, with_air: bool) -> Array:
    """Slice profile and in-plane blur; without air both are normalised, so that the brain's edge is not darkened."""
    image, held = plan.average(signal), plan.held
    if scanner.blur_mm:
        sigma = scanner.blur_mm / FWHM / abs(float(np.linalg.norm(plan.affine[:3, 0])))
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0), truncate=3)
        held = held if with_air else ndimage.gaussian_filter(held, (sigma, sigma, 0), truncate=3)
    return image if with_air else np.asarray(image / np.maximum(held, np.float32(0.05)))


def _bias(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Array:
    """exp(random quadratic) of receive coils, mean about 1."""
    i, j, k = (
        np.linspace(-1, 1, size, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(shape)
    )
    c = rng.normal(0, strength, 9).astype(np.float32)
    bowl = c[0] * i**2 + c[1] * j**2 + c[2] * k**2 + c[3] * i * j + c[4] * i * k + c[5] * j * k
    field = bowl + np.float32(0.5) * (c[6] * i + c[7] * j + c[8] * k)
    return np.asarray(np.exp(field - field.mean()), dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: np.float32) -> Array:
    """Complex noise (2, I, J, K), a little correlated along J as partial Fourier and interpolation leave it."""
    white = rng.standard_normal((2, *shape), dtype=np.float32)
    shared = white + np.float32(0.35) * np.roll(white, 1, axis=2)
    return np.asarray(shared * (deviation / np.float32(np.sqrt(1 + 0.35**2))), dtype=np.float32)
