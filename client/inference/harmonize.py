"""Every real sequence as the study's reference centre would draw it (UMMGAT: own image, reference centre's domain)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.inference.fill import Translator, pick_domain, translate_volume
from common.sequences import Domain, Sequence


@dataclass(frozen=True)
class Harmonized:
    """One sequence in the reference centre's style.

    Attributes:
        slices: (K, H, W) in [-1, 1], -1 outside the brain.
        domain: whose style it is: the reference centre's, or another site's where the reference lacks the sequence.
        unchanged: the images already are of that domain, and were left alone.
    """

    slices: NDArray[np.float32]
    domain: Domain
    unchanged: bool


def harmonize_volumes(
    generator: Translator,
    images: Mapping[Sequence, NDArray[np.float32]],
    site: str | None,
    reference_site: str,
    brain: NDArray[np.uint8],
    batch: int = 32,
) -> dict[Sequence, Harmonized]:
    """Redraw each of `images`, (K, H, W) in [-1, 1], as the reference centre would.

    A sequence that no site of the release holds is left out. For a site the release does not know (`site` None) the
    sequence alone decides: the generator is never told where an image comes from.
    """
    harmonized: dict[Sequence, Harmonized] = {}
    for sequence, slices in images.items():
        domain = pick_domain(generator.domains, sequence, reference_site, reference_site)
        if domain is None:
            continue
        unchanged = domain.site == site
        drawn = np.array(slices) if unchanged else translate_volume(generator, slices, domain, batch, brain)
        harmonized[sequence] = Harmonized(drawn, domain, unchanged)
    return harmonized
