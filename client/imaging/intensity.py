"""CBSI grey normalisation (Nat Commun 17:2162, methods; constants and code facts in FIELD.md 1) and its inverse.

Inside the brain u = 255 v / high, then g = phi · (u - centre) / deviation + v0, clipped to 0 … 255 and mapped to
[-1, 1]. Quantitative maps keep their units: g = 255 v / maximum, with a fixed maximum for each map. Seed 001 divides T1
and T1Gd alike by the maximum of the T1, so that their difference keeps its sense.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.errors import DataError
from common.sequences import QUANTITATIVE, Sequence
from common.shapes import Mask, Volume

BINS = 254
HIGH_PERCENTILE = 99.5
"""A few bright vessels must not set the scale: `high` is this percentile of the brain, not its maximum."""

MINIMUM_VOXELS = 50

PRE_CONTRAST_SHARE = 0.6
"""What of the greys a T1 fills that is scaled by its maximum; the rest is for what gadolinium adds."""

GREY_TABLE: dict[Sequence, tuple[float, float]] = {
    Sequence.FLAIR: (30.0, 75.0),
    Sequence.T1: (31.0, 99.0),
    Sequence.T1GD: (31.0, 99.0),
    # Not in the paper; ours. T2 has a long bright tail of fluid to keep below 255.
    Sequence.T2: (40.0, 75.0),
    Sequence.SWI: (31.0, 120.0),
    Sequence.DWI: (30.0, 75.0),
    Sequence.ASL: (30.0, 75.0),
    Sequence.HARDI: (30.0, 75.0),
}
"""(phi, v0) of each sequence: the spread and the centre that all scans of it are brought to."""

BY_MEDIAN = frozenset({Sequence.T2})
"""Whose v̂ is the brain's median, ours too: on T2 grey and white matter are two peaks of like height, and the fullest
bin fell on the one in most patients and on the other in some, whose greys were then those of another tissue."""

PHYSICAL_MAXIMUM: dict[Sequence, float] = {Sequence.T1MAP: 5000.0, Sequence.ADC: 4.0, Sequence.CBV: 15.0}
"""What is drawn as 255: T1map in ms, ADC in 1e-3 mm²/s, CBV relative to normal white matter (or ml/100 g)."""

_OTHER_UNITS: dict[Sequence, tuple[tuple[float, float, float], ...]] = {
    Sequence.T1MAP: ((0.2, 10.0, 1e-3),),  # seconds
    Sequence.ADC: ((50.0, 5000.0, 1e3), (5e-5, 5e-3, 1e-3)),  # 1e-6 mm²/s, mm²/s
    Sequence.CBV: (),
}
"""(from, to, factor): a brain median between the two says that the map is written in table unit x factor."""


@dataclass(frozen=True)
class GreyScale:
    """The straight line between a scanner's units and greys; all of it can be recorded and read back.

    Attributes:
        centre: v̂, the centre of the fullest bin of u, or its median (`BY_MEDIAN`).
        deviation: φ, root mean square of v̂ - u over the brain.
        scale: ϕ of the table, to which φ is brought.
        shift: v0 of the table, to which v̂ is brought.
        high: the scanner's value for u = 255.
    """

    centre: float
    deviation: float
    scale: float
    shift: float
    high: float

    @classmethod
    def fit(cls, volume: NDArray[np.float32], mask: Mask, sequence: Sequence) -> GreyScale:
        """Measure the constants inside `mask`. Raises DataError where there is nothing to measure."""
        values = volume[mask]
        if values.size < MINIMUM_VOXELS:
            raise DataError(f"{sequence}: only {values.size} brain voxels; check the brain mask and the field of view")
        if sequence in QUANTITATIVE:
            return cls(0.0, 1.0, 1.0, 0.0, _physical_maximum(float(np.median(values)), sequence))
        high = float(np.percentile(values, HIGH_PERCENTILE))
        if high <= 0 or float(values.min()) == float(values.max()):
            raise DataError(f"{sequence}: the brain is empty or constant; export the scan again")
        scaled = values.astype(np.float64) * (255 / high)
        centre = float(np.median(scaled)) if sequence in BY_MEDIAN else _mode(scaled)
        deviation = float(np.sqrt(np.mean((centre - np.clip(scaled, 0, 255)) ** 2)))
        scale, shift = GREY_TABLE[sequence]
        return cls(centre, deviation, scale, shift, high)

    @classmethod
    def fit_maximum(cls, volume: NDArray[np.float32], mask: Mask) -> GreyScale:
        """Return the scale of a T1, and of the T1Gd that goes with it, by the largest value inside `mask` (seed 001).

        There the maximum is a slice's; here it is the volume's, or neighbouring slices would not fit together. Raises
        DataError where there is nothing to measure.
        """
        values = volume[mask]
        if values.size < MINIMUM_VOXELS or float(values.max()) <= 0:
            raise DataError("the brain is empty; check the brain mask, or export the scan again")
        return cls(0.0, 1.0, PRE_CONTRAST_SHARE, 0.0, float(values.max()))

    def apply(self, volume: NDArray[np.floating]) -> Volume:
        """Return scanner units as greys in [-1, 1], clipped."""
        grey = self._gain * volume + self._offset
        values: Volume = np.clip(grey / 127.5 - 1, -1, 1).astype(np.float32)
        return values

    def invert(self, values: NDArray[np.floating]) -> Volume:
        """Return greys in [-1, 1] in scanner units: exact wherever `apply` did not clip."""
        grey = (np.asarray(values, dtype=np.float64) + 1) * 127.5
        return np.asarray((grey - self._offset) / self._gain, dtype=np.float32)

    def invert_spread(self, values: NDArray[np.floating]) -> Volume:
        """Return a spread of greys in [-1, 1], such as a standard deviation, in scanner units."""
        return np.asarray(np.asarray(values, dtype=np.float64) * 127.5 / abs(self._gain), dtype=np.float32)

    def to_dict(self) -> dict[str, float]:
        """Return the constants as they are recorded; `GreyScale(**constants)` reads them back."""
        return asdict(self)

    @property
    def _gain(self) -> float:
        """Greys per scanner unit."""
        return self.scale / self.deviation * 255 / self.high

    @property
    def _offset(self) -> float:
        """Grey of a voxel that the scanner gives as 0."""
        return self.shift - self.scale / self.deviation * self.centre


def normalise(
    volume: Volume, mask: Mask, sequence: Sequence, scale: GreyScale | None = None
) -> tuple[Volume, GreyScale]:
    """Return the volume's greys in [-1, 1], -1 outside the mask, with what undoes them: `scale`, or what is measured.

    Raises:
        DataError: where the mask holds too little, or nothing but one value.
    """
    scale = GreyScale.fit(volume, mask, sequence) if scale is None else scale
    return np.where(mask, scale.apply(volume), np.float32(-1)), scale


def _mode(scaled: NDArray[np.float64]) -> float:
    """Return the centre of the fullest of 254 bins over 0 … 255.

    The histogram is smoothed by two bins first: the paper takes it raw, where whole-numbered scans leave a comb whose
    fullest tooth is chance. Zeros and what lies beyond 255 are no tissue.
    """
    counts, edges = np.histogram(scaled[(scaled > 0) & (scaled < 255)], bins=BINS, range=(0, 255))
    fullest = int(ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0, mode="constant").argmax())
    return float((edges[fullest] + edges[fullest + 1]) / 2)


def _physical_maximum(median: float, sequence: Sequence) -> float:
    """Return the fixed maximum of a map in the unit that it is evidently written in."""
    for low, high, factor in _OTHER_UNITS[sequence]:
        if low <= median < high:
            return PHYSICAL_MAXIMUM[sequence] * factor
    return PHYSICAL_MAXIMUM[sequence]
