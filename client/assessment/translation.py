"""The generator on held-out patients: each real sequence drawn from the nearest other one, and measured against itself.

Errors count inside the brain, on every second usable slice. The drawing is compared with copying the source and, where
the study asks for it, with what the site's own generator draws.
The style encoder's features of real and drawn slices go along, for the distance between the two populations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from client.assessment.examination import Examination, Observed
from client.data.cache import CachedCase
from client.inference.fill import pick_source, translate_volume
from common.assessment.distances import DISTANCE, DRAWN, FEATURES, REAL
from common.assessment.matrix import COPY, RELEASED, SITE_ALONE, TRANSLATION, held_by
from common.metrics.fidelity import measure, to_greys
from common.nets.ummgat import Ummgat
from common.seeding import numpy_generator
from common.sequences import Domain, Sequence
from common.settings.stages import Stage

EVERY = 2
BATCH = 32
Slices = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """The sampled slices of one case in one sequence, (K, H, W): the real ones, and what each model offers for them."""

    patient: str
    target: Sequence
    real: Slices
    offers: Mapping[str, Slices]
    brain: NDArray[np.bool_]


def assess(exam: Examination) -> Observed:
    """Return errors and features of every sequence that the site has a domain of."""
    generator = cast(Ummgat, exam.models[Stage.GENERATOR])
    errors: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    features: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for pair in _pairs(exam):
        for model, offered in pair.offers.items():
            name = f"{TRANSLATION}/{model}/{pair.target}"
            errors.setdefault(name, {}).setdefault(pair.patient, []).append(_errors(offered, pair))
        for kind, slices in ((REAL, pair.real), (DRAWN, pair.offers[RELEASED])):
            name = f"{DISTANCE}/{kind}/{pair.target}"
            features.setdefault(name, {}).setdefault(pair.patient, []).append(features_of(generator, slices))
    return Observed(
        values={name: {who: _mean(found) for who, found in each.items()} for name, each in errors.items()},
        features={name: {who: np.concatenate(found) for who, found in each.items()} for name, each in features.items()},
    )


def _pairs(exam: Examination) -> Iterator[Pair]:
    """Yield every sequence of every held-out case that can be drawn from another one in the site's own style."""
    named = ((RELEASED, exam.models), (SITE_ALONE, exam.alone))
    generators = {name: cast(Ummgat, each[Stage.GENERATOR]) for name, each in named if Stage.GENERATOR in each}
    held = held_by(exam.study, exam.plan, exam.site)
    for index, case in enumerate(exam.held_out.cases):
        rows = exam.held_out.usable[index][::EVERY]
        for target in held:
            source = pick_source(target, set(case.sequences) - {target})
            if target in case.sequences and source is not None and len(rows):
                yield _pair(case, rows, generators, source, Domain(exam.site, target))


def _pair(
    case: CachedCase, rows: NDArray[np.intp], generators: Mapping[str, Ummgat], source: Sequence, domain: Domain
) -> Pair:
    shown, brain = case.slices(source)[rows], case.brain()[rows]
    offers = {name: translate_volume(each, shown, domain, brain=brain) for name, each in generators.items()}
    offers[COPY] = np.where(brain > 0, shown, np.float32(-1))
    real = np.where(brain > 0, case.slices(domain.sequence)[rows], np.float32(-1))
    return Pair(case.patient, domain.sequence, real, offers, brain > 0)


def _errors(offered: Slices, pair: Pair) -> tuple[float, ...]:
    found = measure(to_greys(offered), to_greys(pair.real), pair.brain)
    assert found is not None, "a usable slice shows brain"  # noqa: S101
    return found.mae, found.ssim


def _mean(found: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(np.mean(found, axis=0).tolist())


@torch.no_grad()
def features_of(generator: Ummgat, slices: Slices) -> NDArray[np.float64]:
    """Return what the style encoder's trunk sees of slices (K, H, W), along a few fixed directions, (K, FEATURES)."""
    device = next(generator.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32))[:, None]
    found = [generator.encoder.features(part.to(device)).double().cpu().numpy() for part in torch.split(images, BATCH)]
    every = np.concatenate(found)
    projected: NDArray[np.float64] = every @ directions(every.shape[1])
    return projected


def directions(width: int) -> NDArray[np.float64]:
    """Return orthonormal columns, (width, FEATURES), the same at every site."""
    drawn = numpy_generator(0, "assessment", "directions").standard_normal((width, FEATURES))
    orthonormal: NDArray[np.float64] = np.linalg.qr(drawn)[0]
    return orthonormal
