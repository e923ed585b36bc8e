"""How close a generated image is to a reference, inside a mask, in grey levels of 0 … 255.

Policy: where the mask is empty there is nothing to measure and the answer is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

GREYS = 255.0
IDENTICAL_DB = 100.0
"""PSNR given to images that do not differ at all, whose PSNR is infinite."""

WINDOW_SIGMA = 1.5
WINDOW_RADIUS = 5


@dataclass(frozen=True)
class Fidelity:
    """Mean absolute error (grey levels), peak signal-to-noise ratio (dB) and structural similarity (at most 1)."""

    mae: float
    psnr_db: float
    ssim: float


def to_greys(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map network values in [-1, 1] to grey levels 0 … 255."""
    return (np.asarray(image, dtype=np.float64) + 1) * (GREYS / 2)


def mean_absolute_error(
    image: NDArray[np.floating], reference: NDArray[np.floating], mask: NDArray[np.bool_]
) -> float | None:
    """Return the mean of |image - reference| over `mask`; all of one shape. None where the mask is empty."""
    if not mask.any():
        return None
    return float(np.abs(image[mask] - reference[mask]).mean())


def measure(image: NDArray[np.floating], reference: NDArray[np.floating], mask: NDArray[np.bool_]) -> Fidelity | None:
    """Compare slices (K, H, W) in grey levels inside `mask`. None where the mask is empty.

    PSNR takes 255 as the peak and the mean squared error over the mask. SSIM (Wang 2004: Gaussian window of 11 x 11,
    sigma 1.5, K1 = 0.01, K2 = 0.03) is computed slice by slice on the whole image and averaged over the mask, so a
    window at the brain's edge sees the background, which is equal in both.
    """
    if not mask.any():
        return None
    difference = image[mask] - reference[mask]
    error = float(np.square(difference).mean())
    psnr = IDENTICAL_DB if error == 0 else min(IDENTICAL_DB, 10 * float(np.log10(GREYS**2 / error)))
    similarity = float(similarity_map(image, reference)[mask].mean())
    return Fidelity(float(np.abs(difference).mean()), psnr, similarity)


def similarity_map(image: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the local SSIM of slices (K, H, W), one value a voxel; see `measure`."""
    x, y = np.asarray(image, dtype=np.float64), np.asarray(reference, dtype=np.float64)

    def local(values: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = gaussian_filter(
            values, (0, WINDOW_SIGMA, WINDOW_SIGMA), truncate=WINDOW_RADIUS / WINDOW_SIGMA
        )
        return smooth

    mean_x, mean_y = local(x), local(y)
    variance_x, variance_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * GREYS) ** 2, (0.03 * GREYS) ** 2
    similarity: NDArray[np.float64] = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity
