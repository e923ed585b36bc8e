"""Real patients from raw folders, with untrained weights: spaces, gaps and masks as hospitals have them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from client.inference.complete import complete_folder


def complete_one(folder: Path, release, out: Path) -> Path:
    (done,) = complete_folder(folder, release.path, out)
    return done.folder


def assert_like(folder: Path, scan: Path) -> None:
    """Every output lies on the voxels of `scan`."""
    expected = nib.load(scan)
    for path in sorted(folder.glob("*.nii.gz")):
        image = nib.load(path)
        assert image.shape == expected.shape, path.name
        assert np.allclose(image.affine, expected.affine, atol=1e-4), path.name


def test_a_patient_without_gadolinium_and_t2_gets_both(real_data, tmp_path, release):
    scans = real_data / "site-a" / "ET-0" / "TCGA-HT-8107"
    folder = complete_one(scans, release, tmp_path / "out")
    assert_like(folder, scans / "T2F.nii.gz")
    assert {path.name for path in folder.glob("*_filled.nii.gz")} == {"T1Gd_filled.nii.gz", "T2_filled.nii.gz"}
    mask = nib.load(scans / "Brain_mask.nii.gz").get_fdata() > 0
    drawn = nib.load(folder / "T1Gd_enhancing.nii.gz").get_fdata()
    assert np.mean(drawn[mask] != 0) > 0.8  # untrained weights draw black, too
    assert np.mean(drawn[~mask] != 0) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("site", "pattern"), [("site-b", "*/*_flair.nii.gz"), ("site-c", "*/anat/*_FLAIR.nii.gz")])
def test_other_layouts_skull_and_grids_are_completed_on_the_grid_of_the_flair(
    real_data, site, pattern, tmp_path, release
):
    (scan,) = (real_data / site).glob(pattern)
    folder = complete_one(real_data / site, release, tmp_path / "out")
    assert_like(folder, scan)
    facts = json.loads((folder / "T1_harmonized.json").read_text())
    assert facts["detail"] == "native + low-resolution difference"
    assert not list(folder.glob("*_filled.nii.gz"))
