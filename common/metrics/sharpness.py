"""How much detail a drawing has inside a mask, against the real image: few sampling steps blur, and errors hide it.

The gradient energy is the mean over the mask of the squared forward differences along both in-plane axes. Its ratio to
that of the real image is 1 for equal detail, below 1 for blur and above it for noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gradient_energy(image: NDArray[np.floating], mask: NDArray[np.bool_]) -> float | None:
    """Return the mean squared in-plane gradient of slices (K, H, W) over `mask`; None where it is empty.

    A difference counts where both of its pixels lie inside the mask, so that the mask's edge is no detail.
    """
    values = np.asarray(image, dtype=np.float64)
    energy, count = 0.0, 0
    for axis in (1, 2):
        size = mask.shape[axis]
        ahead, behind = (np.take(mask, range(*ends), axis=axis) for ends in ((1, size), (0, size - 1)))
        both = ahead & behind
        energy += float(np.square(np.diff(values, axis=axis)[both]).sum())
        count += int(both.sum())
    return energy / count if count else None


def sharpness(image: NDArray[np.floating], real: NDArray[np.floating], mask: NDArray[np.bool_]) -> float | None:
    """Return the gradient energy of `image` over that of `real`, (K, H, W); None where `real` has none to compare."""
    drawn, wanted = gradient_energy(image, mask), gradient_energy(real, mask)
    return None if drawn is None or not wanted else drawn / wanted
