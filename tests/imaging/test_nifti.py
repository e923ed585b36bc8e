"""NIfTI files: read strictly, written whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from client.imaging.nifti import read_volume, write_volume
from common.errors import DataError

LPS = np.array([[-1.0, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 3.0, -30], [0, 0, 0, 1]])


def some(shape: tuple[int, ...] = (4, 5, 6), kind: type = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def test_a_volume_written_like_its_source_lies_on_the_same_voxels(stored, tmp_path: Path):
    source = stored(some(), LPS)
    assert source.orientation == "LPS"
    assert source.spacing_mm == (1.0, 2.0, 3.0)
    write_volume(tmp_path / "out.nii.gz", source.data, source.affine, like=source)
    out = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(out.get_fdata(), some())
    np.testing.assert_allclose(out.affine, LPS)
    assert out.get_data_dtype() == np.float32


def test_whole_numbers_keep_their_type(tmp_path: Path):
    write_volume(tmp_path / "labels.nii.gz", some(kind=np.uint8), np.eye(4))
    assert nib.load(tmp_path / "labels.nii.gz").get_data_dtype() == np.uint8


def test_provenance_travels_in_description_and_extension(tmp_path: Path):
    path = tmp_path / "drawn.nii.gz"
    facts = {"release": "0123456789ab", "sources": ["T1", "FLAIR"]}
    write_volume(path, some(), np.eye(4), description="SYNTHETIC 0123456789ab", extension=facts)
    read = read_volume(path)
    assert read.description == "SYNTHETIC 0123456789ab"
    assert read.extensions == (facts,)


def test_a_header_takes_no_free_text_from_its_source(tmp_path: Path):
    image = nib.Nifti1Image(some(), LPS)
    image.header["descrip"] = b"Jane Doe"
    image.header["aux_file"] = b"jane.txt"
    nib.save(image, tmp_path / "named.nii.gz")
    named = read_volume(tmp_path / "named.nii.gz")
    write_volume(tmp_path / "out.nii", named.data, named.affine, like=named)
    assert b"ane" not in (tmp_path / "out.nii").read_bytes()


def test_two_writes_give_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write_volume(tmp_path / f"{name}.nii.gz", some(), LPS, description="PHANTOM gliofed 1")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


def test_a_description_of_eighty_characters_does_not_fit(tmp_path: Path):
    write_volume(tmp_path / "a.nii", some(), np.eye(4), description="x" * 79)
    assert read_volume(tmp_path / "a.nii").description == "x" * 79
    with pytest.raises(ValueError, match="79 ASCII"):
        write_volume(tmp_path / "b.nii", some(), np.eye(4), description="x" * 80)


def test_like_another_grid_is_refused(stored, tmp_path: Path):
    source = stored(some(), LPS)
    with pytest.raises(ValueError, match="grid"):
        write_volume(tmp_path / "out.nii", source.data[1:], source.affine, like=source)


def test_a_fourth_axis_of_one_is_dropped(stored):
    assert stored(some((4, 5, 6, 1)), LPS).data.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("data", "affine", "words"),
    [
        (some((3, 3, 3, 2)), np.eye(4), "4 dimensions .3 x 3 x 3 x 2. where 3 are expected"),
        (some((3, 3)), np.eye(4), "2 dimensions"),
        (np.full((3, 3, 3), np.nan, np.float32), np.eye(4), "27 voxels are NaN or infinite"),
        (np.full((3, 3, 3), 1j, np.complex64), np.eye(4), "not plain numbers"),
        (some((3, 3, 3)), np.diag([1.0, 1, 0, 1]), "affine places no voxel"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_path(data: np.ndarray, affine: np.ndarray, words: str, tmp_path: Path):
    path = tmp_path / "bad.nii"
    image = nib.Nifti1Image(data, None)
    image.header.set_sform(affine, 1)
    nib.save(nib.Nifti1Image(data, None, image.header), path)
    with pytest.raises(DataError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_file_is_refused(part: float, suffix: str, tmp_path: Path):
    path = tmp_path / f"cut{suffix}"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).integers(0, 999, (20, 20, 20), np.int16), LPS), path)
    blob = path.read_bytes()
    path.write_bytes(blob[: int(part * len(blob))])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


def test_text_and_absence_are_refused(tmp_path: Path):
    (tmp_path / "notes.nii").write_text("not a scan")
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(tmp_path / "notes.nii")
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "absent.nii")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "out.nii.gz"
    write_volume(path, some(), np.eye(4))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_volume(path, some() + 1, np.eye(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
