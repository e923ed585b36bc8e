"""Every sequence as the study's reference centre would draw it (UMMGAT: own image, reference centre's domain)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.inference.fill import Redrawer, pick_domain
from common.sequences import Domain, Sequence


@dataclass(frozen=True)
class Harmonized:
    """One real sequence in the reference centre's style.

    Attributes:
        slices: (K, H, W) in [-1, 1], -1 outside the brain.
        domain: whose style it is: the reference centre's, or another site's where the reference lacks the sequence.
        unchanged: the images already are of that domain, and were left alone.
        likeness: Pearson's r, inside the brain, between the image and its redrawing as `domain`, also where
            `unchanged`; low where the release does not recognise the image as this sequence of a brain.
    """

    slices: NDArray[np.float32]
    domain: Domain
    unchanged: bool
    likeness: float


def harmonize_volumes(case: Redrawer, site: str | None, reference_site: str) -> dict[Sequence, Harmonized]:
    """Redraw each real sequence of a case as the reference centre would.

    A sequence that no site of the release holds is left out. For a site that the release does not know (`site` None)
    the sequence alone decides: the generator is never told where an image comes from.
    """
    harmonized: dict[Sequence, Harmonized] = {}
    inside = case.brain > 0
    for sequence, slices in case.images.items():
        domain = pick_domain(case.domains, sequence, reference_site, reference_site)
        if domain is None:
            continue
        drawn = case.draw(sequence, domain)
        unchanged = domain.site == site
        likeness = correlation(slices[inside], drawn[inside])
        harmonized[sequence] = Harmonized(np.array(slices) if unchanged else drawn, domain, unchanged, likeness)
    return harmonized


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Pearson's r of two lists of voxels, 0 where either is constant or empty."""
    if not one.size or one.std() < 1e-6 or other.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
