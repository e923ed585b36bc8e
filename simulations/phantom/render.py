"""From a drawn patient to volumes: anatomy, lesion, signals, scanner. Partial volumes add signals, not parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence
from common.shapes import Affine, Labels, Mask
from simulations.phantom.anatomy import Anatomy, MassEffect, build_anatomy
from simulations.phantom.fields import Array, make_grid
from simulations.phantom.lesions import Lesion, grow_lesion
from simulations.phantom.patient import Patient
from simulations.phantom.scanner import Acquisition, expose, plan_acquisition
from simulations.phantom.signal import spin_echo, spoiled_gradient_echo, weighted_signal
from simulations.phantom.template import load_template
from simulations.phantom.tissue import Compartment, Tissue, TissueValues, lesion_values, normal_values, stack
from simulations.scenario import Protocol, Scanner

DRAWN = (*STRUCTURAL, Sequence.T1MAP, Sequence.ADC, Sequence.CBV)
"""Every sequence of the phantom, in the order in which they are written."""

LATENT_T1, LATENT_T2 = -0.10, 0.13
"""Change of log T1 and log T2 of solid tumour per unit of the latent: opposite signs, so that both brighten FLAIR and
T1 and T2 weighting tell one story; oedema moves half as far."""


@dataclass(frozen=True)
class Scene:
    """All that a scanner could see of one patient, without any noise.

    Attributes:
        anatomy: normal tissue.
        lesion: the glioma.
        normal: values of normal tissue, (12,).
        diseased: values of the lesion's compartments at its voxels, (5, M).
    """

    anatomy: Anatomy
    lesion: Lesion
    normal: TissueValues
    diseased: TissueValues

    def mix(self, normal: Array, diseased: Array) -> Array:
        """Return what each of the N voxels gives: `normal` (12,) and `diseased` (5, M) weighted by tissue fraction."""
        total = np.asarray(normal @ self.anatomy.fractions, dtype=np.float32)
        healthy = 1 - self.lesion.parts.sum(axis=0)
        total[self.lesion.members] = total[self.lesion.members] * healthy + (self.lesion.parts * diseased).sum(axis=0)
        return total

    def with_gadolinium(self, field_tesla: float, disrupted: bool) -> Scene:
        """Return the scene after contrast agent."""
        taken = np.full_like(self.diseased.t1_ms, 0.008)
        taken[Compartment.SOLID] = self.lesion.concentration(disrupted)
        diseased = replace(self.diseased, gadolinium_mm=taken)
        return replace(
            self,
            normal=self.normal.with_gadolinium(field_tesla),
            diseased=diseased.with_gadolinium(field_tesla),
        )


@dataclass(frozen=True)
class Images:
    """One patient as a scanner stores them: int16 volumes on one grid, with the factor to physical units.

    Attributes:
        volumes: per sequence (I, J, K).
        scale: per sequence the physical value of one stored unit: 1 but for maps (ms, 1e-6 mm²/s, relative CBV).
        labels: 0, 1 NCR or non-enhancing core, 2 ED, 4 ET.
        brain: brain mask.
        affine: voxel to mm, RAS+.
    """

    volumes: dict[Sequence, NDArray[np.int16]]
    scale: dict[Sequence, float]
    labels: Labels
    brain: Mask
    affine: Affine


def render(
    patient: Patient,
    scanner: Scanner,
    sequences: Iterable[Sequence] = DRAWN,
    spacing_mm: float = 2.0,
    with_skull: bool = False,
) -> Images:
    """Draw `sequences` of `patient` on `scanner`; each sequence's noise is a stream of its own."""
    scene = build_scene(patient, scanner, spacing_mm, with_skull)
    anatomy = scene.anatomy
    held = anatomy.volume(np.ones(len(anatomy.voxels), dtype=bool))
    plan = plan_acquisition(anatomy.grid, scanner, anatomy.volume(anatomy.brain), held)
    volumes = {sequence: _store(patient, scanner, scene, plan, sequence, with_skull) for sequence in sequences}
    scale = {sequence: 0.01 if sequence is Sequence.CBV else 1.0 for sequence in volumes}
    return Images(volumes, scale, label_map(scene, plan, patient.bbb_disrupted), plan.brain, plan.affine)


def build_scene(patient: Patient, scanner: Scanner, spacing_mm: float, with_skull: bool = False) -> Scene:
    """Draw anatomy, lesion and tissue values of `patient` for the field strength of `scanner`."""
    tumour = patient.tumour
    grid = make_grid(spacing_mm, with_skull)
    mass = MassEffect(tumour.centre_mm, tumour.radius_mm, tumour.mass_effect)
    anatomy = build_anatomy(patient.generator("anatomy"), grid, load_template(spacing_mm), mass, with_skull)
    lesion = grow_lesion(patient.generator("lesion"), anatomy, tumour)
    normal = _vary(patient.generator("tissue"), normal_values(scanner.field_tesla))
    scene = Scene(anatomy, lesion, normal, _diseased(patient, lesion, scanner.field_tesla, 0.0))
    return _with_variation(scene, patient, scanner)


def _vary(rng: np.random.Generator, values: TissueValues) -> TissueValues:
    """Let patients differ by 2 % in T1 and T2, as people do."""
    t1_ms = values.t1_ms * np.exp(rng.normal(0, 0.02, values.t1_ms.shape))
    t2_ms = values.t2_ms * np.exp(rng.normal(0, 0.02, values.t2_ms.shape))
    return replace(values, t1_ms=t1_ms.astype(np.float32), t2_ms=t2_ms.astype(np.float32))


def _diseased(patient: Patient, lesion: Lesion, field_tesla: float, strength: float) -> TissueValues:
    """Values of the lesion's voxels: by grade, moved by the latent, mottled by its texture."""
    values = stack(lesion_values(patient.tumour.grade, field_tesla), len(lesion.members))
    texture, uptake = lesion.textures
    mottle = np.float32(strength) * texture
    latent = np.zeros((len(Compartment), 1), dtype=np.float32)
    latent[Compartment.SOLID], latent[Compartment.OEDEMA] = patient.latent, 0.5 * patient.latent
    t1_ms = values.t1_ms * np.exp(LATENT_T1 * latent - np.float32(0.6) * mottle)
    t2_ms = values.t2_ms * np.exp(LATENT_T2 * latent + mottle)
    diffusion = values.diffusion * np.exp(np.float32(0.3) * mottle - np.float32(0.03) * latent)
    blood_volume = values.blood_volume * np.exp(np.float32(0.25) * uptake)
    return replace(
        values,
        t1_ms=np.asarray(t1_ms, dtype=np.float32),
        t2_ms=np.asarray(t2_ms, dtype=np.float32),
        diffusion=np.asarray(diffusion, dtype=np.float32),
        blood_volume=np.asarray(blood_volume, dtype=np.float32),
    )


def _with_variation(scene: Scene, patient: Patient, scanner: Scanner) -> Scene:
    """Choose the texture's strength so that FLAIR varies inside the whole tumour as the patient's trait says."""
    low, high = 0.0, 0.6
    for _ in range(7):
        strength = (low + high) / 2
        scene = replace(scene, diseased=_diseased(patient, scene.lesion, scanner.field_tesla, strength))
        if flair_variation(scene, scanner) < patient.tumour.flair_variation:
            low = strength
        else:
            high = strength
    return scene


def flair_variation(scene: Scene, scanner: Scanner) -> float:
    """Coefficient of variation of the noise-free FLAIR inside the whole tumour."""
    protocol = scanner.protocol(Sequence.FLAIR)
    normal, diseased = (
        weighted_signal(values, protocol, scanner.field_tesla) for values in (scene.normal, scene.diseased)
    )
    lesion = scene.lesion
    healthy = 1 - lesion.parts.sum(axis=0)
    background = normal @ scene.anatomy.fractions[:, lesion.members]
    signal = np.abs(background * healthy + (lesion.parts * diseased).sum(axis=0))[healthy < 0.5]
    return float(signal.std() / signal.mean()) if len(signal) else 0.0


def label_map(scene: Scene, plan: Acquisition, disrupted: bool) -> Labels:
    """Return the labels on the stored grid: each voxel's largest part where the tumour fills half of it."""
    lesion = scene.lesion
    enhancing = lesion.parts[Compartment.SOLID] * (lesion.leak if disrupted else 0)
    oedema, core, enhancing = (
        plan.average(_scatter(scene.anatomy, lesion, part))
        for part in (lesion.parts[Compartment.OEDEMA], lesion.core - enhancing, enhancing)
    )
    labels = np.where(enhancing >= core, np.uint8(4), np.uint8(1))
    labels = np.where(oedema > core + enhancing, np.uint8(2), labels)
    return np.asarray(labels * ((oedema + core + enhancing > 0.5) & plan.brain), dtype=np.uint8)


def _scatter(anatomy: Anatomy, lesion: Lesion, part: Array) -> Array:
    values = np.zeros(len(anatomy.voxels), dtype=np.float32)
    values[lesion.members] = part
    return anatomy.volume(values)


def _store(
    patient: Patient, scanner: Scanner, scene: Scene, plan: Acquisition, sequence: Sequence, with_skull: bool
) -> NDArray[np.int16]:
    """Draw and store one sequence."""
    rng = patient.generator("image", sequence.value)
    tesla = scanner.field_tesla
    if sequence in NEEDS_GADOLINIUM:
        scene = scene.with_gadolinium(tesla, patient.bbb_disrupted)
    match sequence:
        case Sequence.ADC:
            values = _diffusion_map(rng, scanner, scene)
        case Sequence.T1MAP:
            values = _relaxation_map(rng, scanner, scene)
        case Sequence.CBV:
            values = _blood_volume_map(rng, scanner, scene)
        case _:
            protocol = scanner.protocol(sequence)
            return _weighted(rng, scanner, scene, plan, protocol, with_skull)
    volume = plan.average(scene.anatomy.volume(values)) / np.maximum(plan.held, np.float32(0.05))
    stored = np.clip(np.rint(volume), 0, 32767).astype(np.int16)
    return stored if with_skull else np.where(plan.brain, stored, np.int16(0))


def _weighted(
    rng: np.random.Generator, scanner: Scanner, scene: Scene, plan: Acquisition, protocol: Protocol, with_skull: bool
) -> NDArray[np.int16]:
    tesla = scanner.field_tesla
    normal = weighted_signal(scene.normal, protocol, tesla)
    signal = scene.mix(normal, weighted_signal(scene.diseased, protocol, tesla))
    return expose(rng, scanner, plan, scene.anatomy.volume(signal), float(normal[Tissue.WHITE]), with_skull)


def _diffusion_map(rng: np.random.Generator, scanner: Scanner, scene: Scene) -> Array:
    """ADC in 1e-6 mm²/s from two noisy acquisitions at b = 0 and 1000 s/mm²."""
    plain = [spin_echo(values, 5000, 80) for values in (scene.normal, scene.diseased)]
    weighted = [
        signal * np.exp(-values.diffusion) for signal, values in zip(plain, (scene.normal, scene.diseased), strict=True)
    ]
    deviation = plain[0][Tissue.WHITE] / (2 * scanner.snr)
    first, second = (_noisy(rng, np.abs(scene.mix(*pair)), deviation) for pair in (plain, weighted))
    return np.asarray(np.clip(np.log(first / second), 0, 4) * 1000, dtype=np.float32)


def _relaxation_map(rng: np.random.Generator, scanner: Scanner, scene: Scene) -> Array:
    """T1 in ms from gradient echoes at 4° and 18° (DESPOT1): S/sin α = E1 S/tan α + constant."""
    tr_ms, flips = 10.0, np.deg2rad([4.0, 18.0])
    images = []
    for flip in flips:
        pair = [
            spoiled_gradient_echo(v, tr_ms, 0.0, float(flip), scanner.field_tesla)
            for v in (scene.normal, scene.diseased)
        ]
        images.append(_noisy(rng, np.abs(scene.mix(*pair)), pair[0][Tissue.WHITE] / (8 * scanner.snr)))
    low, high = images
    rise = high / np.sin(flips[1]) - low / np.sin(flips[0])
    run = high / np.tan(flips[1]) - low / np.tan(flips[0])
    e1 = np.clip(rise / np.where(np.abs(run) < 1e-9, -1e-9, run), np.exp(-tr_ms / 100), np.exp(-tr_ms / 6000))
    return np.asarray(-tr_ms / np.log(e1), dtype=np.float32)


def _blood_volume_map(rng: np.random.Generator, scanner: Scanner, scene: Scene) -> Array:
    """Blood volume in hundredths of normal white matter's; uncorrected leakage hides part of it, as in practice."""
    leaked = scene.diseased.gadolinium_mm
    seen = scene.diseased.blood_volume * (1 - np.float32(0.3) * leaked / (leaked + np.float32(0.3)))
    volume = scene.mix(scene.normal.blood_volume, seen)
    return np.asarray(np.clip(100 * _noisy(rng, volume, np.float32(4 / scanner.snr)), 0, 2000), dtype=np.float32)


def _noisy(rng: np.random.Generator, signal: Array, deviation: np.float32) -> Array:
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(deviation)
    return np.asarray(np.maximum(signal + noise, np.float32(1e-6)), dtype=np.float32)
