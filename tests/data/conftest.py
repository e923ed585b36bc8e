"""A head small enough to write in milliseconds and lopsided enough that left and right differ."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.sequences import Sequence

SHAPE = (44, 52, 22)
AFFINE = np.array([[4.0, 0, 0, -86], [0, 4, 0, -104], [0, 0, 6, -60], [0, 0, 0, 1]])
GREYS = {  # background tissue, ventricles, lesion, vessels
    Sequence.T1: (100, 40, 70, 100),
    Sequence.T1GD: (100, 40, 150, 220),
    Sequence.T2: (60, 180, 140, 30),
    Sequence.FLAIR: (80, 20, 160, 60),
}


def toy_parts() -> dict[str, np.ndarray]:
    """Return masks (I, J, K) of brain, ventricles, lesion and vessels; none of them symmetric."""
    i, j, k = (np.indices(SHAPE).T - np.array([24, 25, 10])).T
    return {
        "brain": (i / 15) ** 2 + (j / 20) ** 2 + (k / 8) ** 2 < 1,
        "ventricles": ((i - 3) / 3) ** 2 + (j / 7) ** 2 + (k / 4) ** 2 < 1,
        "lesion": (i + 8) ** 2 + (j - 6) ** 2 + (2 * k) ** 2 < 16,
        "vessels": (abs(i - 9) < 1) & (abs(j + 4) < 10) & (abs(k) < 3),
    }


def toy_volume(sequence: Sequence, seed: int = 0) -> np.ndarray:
    """Return one sequence of the toy head, float32, zero outside the brain."""
    parts = toy_parts()
    brain, ventricles, lesion, vessels = GREYS[sequence]
    volume = np.full(SHAPE, float(brain))
    volume += 12 * np.sin(np.indices(SHAPE)[0] / 3) * np.cos(np.indices(SHAPE)[1] / 5)
    for name, grey in (("ventricles", ventricles), ("lesion", lesion), ("vessels", vessels)):
        volume[parts[name]] = grey
    volume += np.random.default_rng([seed, list(GREYS).index(sequence)]).normal(0, 2, SHAPE)
    return np.where(parts["brain"], np.maximum(volume, 1), 0).astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, description: str = "") -> Path:
    """Write `data` as NIfTI, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header["descrip"] = description.encode()
    nib.save(image, path)
    return path


@pytest.fixture(scope="session")
def sound_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CBSI site: a disrupted case of T1, T1Gd, T2, FLAIR and an intact one of T2, with ROI and brain mask."""
    folder = tmp_path_factory.mktemp("sound")
    words = {"T1": Sequence.T1, "T1C": Sequence.T1GD, "T2": Sequence.T2, "T2F": Sequence.FLAIR}
    for seed, case in enumerate(("ET-1/p1", "ET-0/p2")):
        for word, sequence in words.items() if seed == 0 else [("T2", Sequence.T2)]:
            save(folder / case / f"{word}.nii.gz", toy_volume(sequence, seed))
        parts = toy_parts()
        save(folder / case / "ROI.nii.gz", parts["lesion"].astype(np.uint8))
        save(folder / case / "Brain_mask.nii.gz", parts["brain"].astype(np.uint8))
    return folder


@pytest.fixture
def cbsi_site(sound_site: Path, tmp_path: Path) -> Path:
    """A copy of the sound site, to be broken."""
    return Path(shutil.copytree(sound_site, tmp_path / "site"))


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes empty files below a new site folder: a catalog opens none."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "names" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "names"

    return make
