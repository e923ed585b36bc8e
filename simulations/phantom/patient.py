"""Who the phantom's patients are: drawn before any image, each trait from a random stream of its own.

The BBB status is drawn without a look at site, grade, size or missing sequences, and these without a look at it. Only
the latent knows it: latent | status ~ N(± separation / 2, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.seeding import numpy_generator
from common.sequences import Sequence
from simulations.phantom.template import GREY, WHITE, load_template
from simulations.scenario import Hospital, Layout, Losses, Scenario

BLOCK = 4
"""Patients whose BBB statuses are dealt together, so that small cohorts are balanced by chance no worse than this."""


@dataclass(frozen=True)
class Tumour:
    """Size, place and make-up of a glioma; none of it depends on the BBB status.

    Attributes:
        grade: WHO grade, 2 to 4.
        centre_mm: in the template.
        radius_mm: of a sphere of the core's rough volume.
        necrosis: radius of the necrotic centre as a share of the core's; 0 for none.
        cyst: radius of a cyst likewise; 0 for none.
        bleeding: whether there is blood in the core.
        patchiness: how much of the solid tumour would take up no contrast agent even where the barrier is gone.
        reach_mm: how far oedema runs along white matter.
        mass_effect: share of the core's volume by which it displaces tissue.
        flair_variation: coefficient of variation of FLAIR inside the whole tumour.
    """

    grade: int
    centre_mm: tuple[float, float, float]
    radius_mm: float
    necrosis: float
    cyst: float
    bleeding: bool
    patchiness: float
    reach_mm: float
    mass_effect: float
    flair_variation: float


@dataclass(frozen=True)
class Patient:
    """One patient of one hospital; `latent` is all that images without gadolinium know of the BBB status."""

    seed: int
    site: str
    number: int
    case: str
    tumour: Tumour
    bbb_disrupted: bool
    latent: float
    sequences: tuple[Sequence, ...]

    def generator(self, *names: str) -> np.random.Generator:
        """Return the patient's random stream called `names`."""
        return numpy_generator(self.seed, self.site, self.number, *names)


def draw_patient(scenario: Scenario, hospital: Hospital, number: int, seed: int) -> Patient:
    """Draw patient `number` (from 1) of `hospital`; the same for every cohort size."""

    def stream(name: str) -> np.random.Generator:
        return numpy_generator(seed, hospital.name, number, name)

    disrupted = draw_status(scenario.disrupted, hospital.name, number, seed)
    return Patient(
        seed=seed,
        site=hospital.name,
        number=number,
        case=case_name(hospital, number),
        tumour=draw_tumour(stream("tumour"), scenario.grades),
        bbb_disrupted=disrupted,
        latent=draw_latent(stream("latent"), disrupted, scenario.separation),
        sequences=kept_sequences(hospital.losses, hospital.name, number, seed),
    )


def case_name(hospital: Hospital, number: int) -> str:
    """Return the patient's name at the hospital, in the style of its folder convention."""
    if hospital.layout is Layout.BIDS:
        return f"sub-{hospital.name.replace('-', '')}{number:03d}"
    return f"{hospital.name}-{number:03d}"


def draw_status(share: float, site: str, number: int, seed: int) -> bool:
    """Draw whether the BBB is disrupted: with probability `share`, balanced within blocks of patients."""
    block, place = divmod(number - 1, BLOCK)
    rng = numpy_generator(seed, site, "status", block)
    steps = np.floor(np.arange(BLOCK + 1) * share + rng.random())
    return bool(rng.permutation(np.diff(steps))[place])


def draw_latent(rng: np.random.Generator, disrupted: bool, separation: float) -> float:
    """Draw a | status ~ N(± separation / 2, 1); the noise is the same for both statuses."""
    return float(rng.standard_normal() + (0.5 if disrupted else -0.5) * separation)


def draw_tumour(rng: np.random.Generator, grades: tuple[float, float, float]) -> Tumour:
    """Draw a glioma: grade first, then what goes with the grade."""
    grade = 2 + int(np.searchsorted(np.cumsum(grades)[:-1], rng.random(), side="right"))
    high = grade == 4
    necrotic = rng.random() < {2: 0.0, 3: 0.35, 4: 0.9}[grade]
    necrosis = rng.uniform(0.45, 0.68) if high else rng.uniform(0.3, 0.5)
    cystic = rng.random() < 0.3
    cyst = rng.uniform(0.3, 0.5)
    bleeding = rng.random() < {2: 0.0, 3: 0.1, 4: 0.25}[grade]
    return Tumour(
        grade=grade,
        centre_mm=_place(rng),
        radius_mm=float(rng.uniform(13, 23)),
        necrosis=float(necrosis) if necrotic else 0.0,
        cyst=float(cyst) if cystic else 0.0,
        bleeding=bool(bleeding),
        patchiness=float(rng.uniform(0.0, 0.1) if high else rng.uniform(0.2, 0.5)),
        reach_mm=float(rng.uniform(9, 26) if high else rng.uniform(5, 15)),
        mass_effect=float(rng.uniform(0.3, 0.9)),
        flair_variation=float(rng.uniform(0.16, 0.25)),
    )


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a tumour's centre: supratentorial, in white matter or its border, not too near surface or midline."""
    brain = load_template(4.0)
    depth = brain.depth_mm
    x, y, z = np.meshgrid(
        *(f + 4 * np.arange(n) for f, n in zip(brain.first_mm, depth.shape, strict=True)), indexing="ij"
    )
    allowed = (depth > 13) & (depth < 42) & (np.abs(x) > 14) & (z > -8 - 0.4 * np.minimum(y + 20, 0)) & (z < 58)
    weight = (allowed * (brain.fractions[WHITE] + 0.2 * brain.fractions[GREY])).ravel().astype(np.float64)
    chosen = np.searchsorted(np.cumsum(weight), rng.random() * weight.sum(), side="right")
    point = np.array([axis.ravel()[chosen] for axis in (x, y, z)]) + rng.uniform(-2, 2, 3)
    return (float(point[0]), float(point[1]), float(point[2]))


def kept_sequences(losses: Losses, site: str, number: int, seed: int) -> tuple[Sequence, ...]:
    """Draw which sequences the hospital has of patient `number`; never none."""
    rng = numpy_generator(seed, site, number, "losses")
    if losses.patterns:
        deal, place = divmod(number - 1, len(losses.patterns))
        order = numpy_generator(seed, site, "patterns", deal).permutation(len(losses.patterns))
        kept = set(losses.patterns[order[place]])
    elif losses.one_at_random:
        kept = {_one_of(losses, rng)}
    elif _is_complete(losses.complete, site, number, seed):
        kept = set(losses.sequences)
    else:
        kept = {sequence for sequence in losses.sequences if rng.random() < losses.keep[sequence]}
        kept = kept or {_one_of(losses, rng)}
    return tuple(sequence for sequence in Sequence if sequence in kept)


def _one_of(losses: Losses, rng: np.random.Generator) -> Sequence:
    shares = np.cumsum([losses.keep[sequence] for sequence in losses.sequences])
    return losses.sequences[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]


def _is_complete(share: float, site: str, number: int, seed: int) -> bool:
    """Deal complete patients evenly along the cohort: any n in a row hold share · n of them, give or take one."""
    offset = numpy_generator(seed, site, "complete").random()
    return bool(np.floor(number * share + offset) > np.floor((number - 1) * share + offset))
