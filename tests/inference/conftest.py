"""A release of untrained weights, and a cached case of smooth random brains, for the tests of inference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.ndimage import gaussian_filter

from client.data.cache import CachedCase, LabelKind, open_case, write_case
from common.nets.stage_models import build_model
from common.parameters import by_group
from common.plan import Plan, SiteInventory
from common.release import GreyConstants, IdentifierFacts, Lineage, Manifest, Release, StageFile, load_release
from common.seeding import torch_generator
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage
from common.study import Study, parse_study

STUDY = """
name = "inference"
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
[grid]
spacing_mm = [5.0, 5.0, 10.0]
shape = [32, 48]
[stages.generator]
[stages.synthesiser]
diffusion_steps = 50
sampling_steps = 2
[stages.segmenter]
[stages.identifier]
"""


def write_release(folder: Path, study: Study, plan: Plan, greys: dict[Sequence, GreyConstants]) -> Release:
    """Write a release whose weights are random throughout, zero-initialised layers too, and open it."""
    folder.mkdir(parents=True)
    stages: dict[Stage, StageFile] = {}
    for stage in study.stages.released:
        generator = torch_generator(1, stage.value)
        model = build_model(stage, study, plan.domains(study), generator)
        state = model.state_dict()
        for tensor in state.values():
            if tensor.is_floating_point() and not tensor.any():
                tensor.normal_(0, 0.05, generator=generator)
        if stage is Stage.SEGMENTER:
            for name in (name for name in state if name.endswith("bias") and state[name].shape == (3,)):
                state[name].zero_()
        blob = save({name: tensor.clone() for name, tensor in state.items()})
        name = f"{stage.value}.safetensors"
        (folder / name).write_bytes(blob)
        groups = dict.fromkeys(by_group(state), study.sites)
        lineage = Lineage(run="test", rounds=1, sites=dict.fromkeys(study.sites, 3), groups=groups)
        stages[stage] = StageFile(file=name, sha256=hashlib.sha256(blob).hexdigest(), lineage=lineage)
    manifest = Manifest(
        study=study,
        study_digest=study.digest,
        plan=plan,
        code_version="test",
        stages=stages,
        greys=greys,
        identifier=IdentifierFacts(slice_threshold=0.5, volume_threshold=0.5) if Stage.IDENTIFIER in stages else None,
    )
    (folder / "release.json").write_bytes(manifest.to_bytes())
    return load_release(folder)


def plan_of(study: Study, holdings: dict[str, Iterable[Sequence]]) -> Plan:
    """Return a plan of three patients a site."""
    inventory = tuple(
        SiteInventory(site=site, training_patients=3, sequences=dict.fromkeys(held, 3))
        for site, held in sorted(holdings.items())
    )
    return Plan(study_digest=study.digest, inventory=inventory)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """All four stages; hospital-a holds all four sequences, hospital-b T1 and FLAIR."""
    torch.set_num_threads(1)
    study = parse_study(STUDY)
    plan = plan_of(study, {"hospital-a": STRUCTURAL, "hospital-b": (Sequence.T1, Sequence.FLAIR)})
    return write_release(tmp_path_factory.mktemp("release") / "release", study, plan, {})


@pytest.fixture(scope="session")
def maps_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A generator, and CBV from any of five sequences; hospital-a holds all six, hospital-b T1."""
    torch.set_num_threads(1)
    text = STUDY.split("[stages.synthesiser]")[0] + "[stages.maps]\n"
    study = parse_study(text.replace("[grid]", 'sequences = ["T1", "T1Gd", "T2", "FLAIR", "ADC", "CBV"]\n[grid]'))
    held = {"hospital-a": (*STRUCTURAL, Sequence.ADC, Sequence.CBV), "hospital-b": (Sequence.T1,)}
    return write_release(tmp_path_factory.mktemp("maps") / "release", study, plan_of(study, held), {})


@pytest.fixture(scope="session")
def release_without_flair(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Three samples a case, trained with hidden conditions; no site holds FLAIR."""
    study = parse_study(STUDY.replace("sampling_steps = 2", "sampling_steps = 2\nsamples = 3\ncondition_dropout = 0.2"))
    plan = plan_of(study, {"hospital-a": (Sequence.T1, Sequence.T1GD, Sequence.T2)})
    return write_release(tmp_path_factory.mktemp("release") / "release", study, plan, {})


@pytest.fixture(scope="session")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CachedCase]:
    """Return a maker of cached cases: an ellipsoid brain of about 1.7 l on the study grid."""

    def make(*sequences: Sequence, name: str = "case-1", radius: float = 0.8) -> CachedCase:
        depth, height, width = 12, 32, 48
        axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (depth, height, width)), indexing="ij")
        brain = sum(axis**2 for axis in axes) < radius**2
        noise = gaussian_filter(np.random.default_rng(1).normal(size=brain.shape), 2)
        noise = (noise / noise.std()).astype(np.float32)
        arrays = {}
        for number, sequence in enumerate(sequences):
            image = -0.3 + 0.15 * (noise if number % 2 == 0 else -noise)
            arrays[sequence.value] = np.where(brain, image.clip(-1, 1), -1).astype(np.float32)
        arrays |= {"brain": brain.astype(np.uint8), "labels": np.zeros(brain.shape, np.uint8)}
        facts = {
            "case": name,
            "patient": name,
            "sequences": [sequence.value for sequence in sequences],
            "label_kind": LabelKind.NONE.value,
            "bbb_disrupted": None,
            "affine": np.diag([5.0, 5.0, 10.0, 1.0]).tolist(),
            "native": {},
            "greys": {},
        }
        path = tmp_path_factory.mktemp("cache") / "case.safetensors"
        write_case(path, arrays, facts)
        return open_case(path)

    return make


SPACING_MM = (4.0, 4.0, 8.0)
SHAPE = (40, 48, 18)


def write_nifti(path: Path, data: np.ndarray, orientation: str = "LPS") -> None:
    """Write a volume given in RAS+ voxels of `SPACING_MM`, stored as `orientation`."""
    image = nib.Nifti1Image(data, np.diag([*SPACING_MM, 1.0]))
    stored = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(orientation)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(stored), path)


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a stripped brain of smooth random tissue, 0 outside, and a ball in its right half, both (I, J, K)."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.8
    tissue = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), (2, 2, 1))
    ball = (axes[0] - 0.4) ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.06
    image = 500 + 80 * tissue / tissue.std()
    return np.where(brain, image, 0).astype(np.float32), ball & brain


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BraTS folder: patient P1 with T1, T1Gd and FLAIR, patient P2 with T2 alone, stored as LPS."""
    folder = tmp_path_factory.mktemp("scans")
    for number, (case, words) in enumerate({"P1": ("t1", "t1ce", "flair"), "P2": ("t2",)}.items()):
        image, ball = head(number)
        for word in words:
            write_nifti(folder / case / f"{case}_{word}.nii.gz", image + 200 * ball)
    return folder
