"""The one legend of axis letters, used by every docstring.

B batch · C channel · H W in-plane axes of a slice · K slices of a volume · I J K voxels of a volume in RAS+
(I grows to the patient's right, J to the front, K to the head) · D domains · S style code · T diffusion steps.

A slice is the axial plane `volume[:, :, k]`: its H is the volume's I and its W the volume's J, so that a stack of
slices is `volume.transpose(2, 0, 1)` with axes (K, H, W).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
"""Image on a voxel grid, axes (I, J, K), RAS+."""

Mask = NDArray[np.bool_]
"""Mask on a voxel grid, axes (I, J, K), RAS+."""

Labels = NDArray[np.uint8]
"""Tumour labels on a voxel grid, axes (I, J, K): 0 none, 1 NCR, 2 ED, 4 ET (BraTS)."""

Affine = NDArray[np.float64]
"""Voxel indices to millimetres in RAS+, shape (4, 4)."""
