"""Relaxation times, proton density, diffusion, blood volume and contrast uptake of every tissue of the phantom.

Sources: T1 of white and grey matter, putamen and caudate Wright 2008; tumour T1 by grade from MR fingerprinting; solid
tumour and oedema ADC Toh 2008; rCBV by grade Bulakbasi 2005; uptake of normal white matter Blystad 2020. All other
figures are textbook assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Tissue(IntEnum):
    """Tissues with one value each; the order is that of the rows of every table of fractions."""

    WHITE = 0
    GREY = 1
    CSF = 2
    CAUDATE = 3
    PUTAMEN = 4
    PALLIDUM = 5
    THALAMUS = 6
    VESSEL = 7
    BONE = 8
    MARROW = 9
    FAT = 10
    MUSCLE = 11


class Compartment(IntEnum):
    """Parts of a lesion, whose values vary from voxel to voxel."""

    OEDEMA = 0
    SOLID = 1
    NECROSIS = 2
    CYST = 3
    BLOOD = 4


@dataclass(frozen=True)
class TissueValues:
    """What the signal equations need, all arrays of one shape.

    Attributes:
        t1_ms: longitudinal relaxation time, ms.
        t2_ms: transverse relaxation time, ms.
        density: proton density relative to water, 0 … 1.
        diffusion: apparent diffusion coefficient, 1e-3 mm²/s.
        blood_volume: relative to normal white matter.
        gadolinium_mm: concentration after contrast agent, mM.
    """

    t1_ms: Array
    t2_ms: Array
    density: Array
    diffusion: Array
    blood_volume: Array
    gadolinium_mm: Array

    def with_gadolinium(self, field_tesla: float) -> TissueValues:
        """Return the values after contrast agent: 1/T1' = 1/T1 + r1 C, 1/T2' = 1/T2 + r2 C (gadobutrol, Shen 2015)."""
        r1, r2 = RELAXIVITY[field_tesla]
        t1_ms = 1 / (1 / self.t1_ms + r1 * self.gadolinium_mm / 1000)
        t2_ms = 1 / (1 / self.t2_ms + r2 * self.gadolinium_mm / 1000)
        return replace(self, t1_ms=t1_ms.astype(np.float32), t2_ms=t2_ms.astype(np.float32))


RELAXIVITY: dict[float, tuple[float, float]] = {1.5: (4.6, 5.4), 3.0: (4.5, 6.3)}
"""r1 [Shen 2015] and r2 (assumed) of gadobutrol per mM and second."""

#            T1 at 1.5, 3 T    T2 at 1.5, 3 T    density  ADC   CBV   Gd mM
_NORMAL: dict[Tissue, tuple[float, float, float, float, float, float, float, float]] = {
    Tissue.WHITE: (646, 838, 72, 69, 0.70, 0.75, 1.0, 0.007),
    Tissue.GREY: (1197, 1607, 95, 99, 0.82, 0.85, 2.2, 0.016),
    Tissue.CSF: (4300, 4300, 1800, 1600, 1.00, 3.00, 0.15, 0.002),
    Tissue.CAUDATE: (1109, 1395, 88, 84, 0.81, 0.75, 1.9, 0.012),
    Tissue.PUTAMEN: (1084, 1332, 83, 77, 0.80, 0.72, 1.8, 0.012),
    Tissue.PALLIDUM: (900, 1050, 66, 57, 0.74, 0.75, 1.3, 0.012),
    Tissue.THALAMUS: (1000, 1250, 84, 80, 0.78, 0.76, 1.7, 0.012),
    Tissue.VESSEL: (1500, 1900, 45, 35, 0.75, 1.60, 9.0, 1.1),
    Tissue.BONE: (400, 400, 2, 2, 0.15, 0.30, 0.2, 0.01),
    Tissue.MARROW: (380, 420, 65, 60, 0.65, 0.40, 0.3, 0.05),
    Tissue.FAT: (290, 370, 70, 65, 0.95, 0.20, 0.2, 0.02),
    Tissue.MUSCLE: (1000, 1400, 42, 38, 0.75, 1.30, 0.8, 0.08),
}

_SOLID_BY_GRADE: dict[int, tuple[float, float, float, float]] = {
    2: (1355, 150, 1.35, 2.3),
    3: (1600, 150, 1.15, 3.8),
    4: (1860, 150, 0.96, 5.4),
}
"""WHO grade → T1 at 3 T, T2, ADC, rCBV of solid tumour."""

_LESION: dict[Compartment, tuple[float, float, float, float, float]] = {
    Compartment.OEDEMA: (1390, 140, 0.82, 1.44, 0.7),
    Compartment.NECROSIS: (2500, 330, 0.92, 1.90, 0.3),
    Compartment.CYST: (3100, 700, 0.97, 2.60, 0.15),
    Compartment.BLOOD: (700, 45, 0.80, 0.70, 0.5),
}
"""T1 at 3 T, T2, density, ADC, rCBV."""

LESION_T1_AT_1T5 = 0.80
"""T1 of a lesion at 1.5 T as a fraction of its T1 at 3 T (assumed, as in grey matter)."""


def normal_values(field_tesla: float) -> TissueValues:
    """Return the values of all normal tissues in the order of `Tissue`, arrays of shape (12,)."""
    low = field_tesla < 2
    rows = [_NORMAL[tissue] for tissue in Tissue]
    columns = [[r[0] if low else r[1], r[2] if low else r[3], *r[4:]] for r in rows]
    return TissueValues(*(np.array(column, dtype=np.float32) for column in zip(*columns, strict=True)))


def lesion_values(grade: int, field_tesla: float) -> TissueValues:
    """Return the central values of all lesion compartments, arrays of shape (5,), without any gadolinium."""
    solid = _SOLID_BY_GRADE[grade]
    table = dict(_LESION) | {Compartment.SOLID: (solid[0], solid[1], 0.86, solid[2], solid[3])}
    columns = list(zip(*(table[part] for part in Compartment), strict=True))
    t1_ms, t2_ms, density, diffusion, blood_volume = (np.array(column, dtype=np.float32) for column in columns)
    t1_ms = (t1_ms * (LESION_T1_AT_1T5 if field_tesla < 2 else 1.0)).astype(np.float32)
    return TissueValues(t1_ms, t2_ms, density, diffusion, blood_volume, np.zeros_like(t1_ms))


def stack(values: TissueValues, voxels: int) -> TissueValues:
    """Return a writable copy for every voxel: shape (compartments,) becomes (compartments, voxels)."""
    return TissueValues(*(np.repeat(getattr(values, field.name)[:, None], voxels, axis=1) for field in fields(values)))
