"""Every finding that `check` promises, provoked by one broken file; a sound site gives none."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from client.data.cache import LabelKind
from client.data.catalog import CatalogCase, scan_folder, survey_folder
from client.data.checks.finding import Finding, Severity
from client.data.checks.reading import read_scan
from client.data.checks.voxels import check_labels
from client.data.integrity import check_catalog
from common.errors import DataError

ERROR, WARNING, INFORMATION = Severity
T1, T1GD, T2, FLAIR = "ET-1/p1/T1.nii.gz", "ET-1/p1/T1C.nii.gz", "ET-1/p1/T2.nii.gz", "ET-1/p1/T2F.nii.gz"
ROI, BRAIN = "ET-1/p1/ROI.nii.gz", "ET-1/p1/Brain_mask.nii.gz"
SHAPE = (44, 52, 22)
AFFINE = np.array([[4.0, 0, 0, -86], [0, 4, 0, -104], [0, 0, 6, -60], [0, 0, 0, 1]])

Break = Callable[[Path], object]


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, description: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header["descrip"] = description.encode()
    nib.save(image, path)
    return path


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def findings_of(site: Path) -> list[Finding]:
    return check_catalog(survey_folder(site))


def rewrite(site: Path, name: str, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> None:
    save(site / name, change(voxels(site / name)), affine)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def flip_a_byte(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(blob)


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(data: np.ndarray) -> np.ndarray:
        data = data.astype(np.float32)
        data[20, 20, 10] = value
        return data

    return change


def scaled_affine(factor: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3] *= factor
    return affine


def mirror_qform(path: Path) -> None:
    image = nib.Nifti1Image(voxels(path), AFFINE)
    image.set_qform(AFFINE @ np.diag([-1.0, 1, 1, 1]), code=1)
    image.set_sform(AFFINE, code=1)
    nib.save(image, path)


def forget_orientation(path: Path) -> None:
    image = nib.Nifti1Image(voxels(path), AFFINE)
    image.set_qform(None, code=0)
    image.set_sform(None, code=0)
    nib.save(image, path)


def exchange(site: Path) -> None:
    (site / T1).rename(site / "held.nii.gz")
    (site / T1GD).rename(site / T1)
    (site / "held.nii.gz").rename(site / T1GD)


def describe(path: Path, text: str) -> None:
    save(path, voxels(path), description=text)


def extend(path: Path, code: int, content: bytes) -> None:
    image = nib.Nifti1Image(voxels(path), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    nib.save(image, path)


MARK = {"synthetic": True, "release": "0123456789ab"}

BROKEN: dict[str, tuple[Break, str, str, Severity, str]] = {
    "truncated": (lambda s: truncate(s / T2), T2, "unreadable", ERROR, "truncated"),
    "one byte flipped": (lambda s: flip_a_byte(s / T2), T2, "unreadable", ERROR, "damaged"),
    "no NIfTI": (lambda s: (s / T2).write_bytes(gzip.compress(b"no image" * 99)), T2, "unreadable", ERROR, "not a"),
    "not compressed": (lambda s: (s / T2).write_bytes(b"plain"), T2, "unreadable", ERROR, "disagree"),
    "complex": (lambda s: save(s / T2, np.ones(SHAPE, np.complex64)), T2, "unreadable", ERROR, "complex64"),
    "NaN": (lambda s: rewrite(s, T2, put(np.nan)), T2, "not-finite", ERROR, "1 voxels are NaN"),
    "infinite": (lambda s: rewrite(s, T2, put(np.inf)), T2, "not-finite", ERROR, "1 voxels are NaN or inf"),
    "all zero": (lambda s: rewrite(s, T2, np.zeros_like), T2, "all-zero", ERROR, "all-zero"),
    "constant": (lambda s: rewrite(s, T2, lambda d: 0 * d + 7), T2, "all-zero", ERROR, "every voxel is 7"),
    "4-D": (lambda s: rewrite(s, T2, lambda d: np.stack([d, d], -1)), T2, "dimensions", ERROR, "4 dimensions"),
    "2-D": (lambda s: rewrite(s, T2, lambda d: d[..., 0]), T2, "dimensions", ERROR, "expected a volume"),
    "one slice": (lambda s: rewrite(s, T2, lambda d: d[..., 9:10]), T2, "dimensions", ERROR, "x 1 voxels"),
    "metres": (lambda s: rewrite(s, T2, lambda d: d, scaled_affine(1e-3)), T2, "spacing", ERROR, "implausible"),
    "no spacing": (lambda s: rewrite(s, T2, lambda d: d, np.eye(4)), T2, "spacing", WARNING, "52 x 22 mm large"),
    "other grid": (lambda s: rewrite(s, T2, lambda d: d[1:]), "", "grids", INFORMATION, "2 different grids"),
    "strange label": (lambda s: rewrite(s, ROI, put(3)), ROI, "labels", ERROR, "convention: 3; expected 0, 1"),
    "interpolated label": (lambda s: rewrite(s, ROI, put(0.5)), ROI, "labels", ERROR, "convention: 0.5;"),
    "empty labels": (lambda s: rewrite(s, ROI, np.zeros_like), ROI, "mask-empty", ERROR, "mask empty"),
    "empty brain": (lambda s: rewrite(s, BRAIN, np.zeros_like), BRAIN, "mask-empty", ERROR, "mask empty"),
    "copy in a case": (lambda s: shutil.copy(s / T1, s / T2), T2, "duplicate", ERROR, "the same as"),
    "copy of a patient": (
        lambda s: shutil.copy(s / T2, s / "ET-0/p2/T2.nii.gz"), "ET-0/p2/T2.nii.gz", "duplicate", ERROR, "duplicate"
    ),
    "mirrored": (lambda s: rewrite(s, T2, lambda d: d[::-1]), T2, "left-right", WARNING, "T2 fits the other"),
    "two hands": (lambda s: mirror_qform(s / T2), T2, "left-right", WARNING, "opposite handedness"),
    "no orientation": (lambda s: forget_orientation(s / T2), T2, "left-right", WARNING, "neither sform"),
    "T1 for T1Gd": (exchange, T1GD, "t1-t1gd", WARNING, "T1/T1Gd swap suspected"),
    "date": (lambda s: describe(s / T2, "scan 2019-03-27"), T2, "personal", ERROR, "a date in the header"),
    "name": (lambda s: describe(s / T2, "DOE^JANE"), T2, "personal", ERROR, "DOE^JANE"),
    "perhaps a name": (lambda s: describe(s / T2, "Jane Doe"), T2, "personal", WARNING, "may be a person"),
    "time": (lambda s: describe(s / T2, "TE=91;Time=222607.25"), T2, "personal", WARNING, "a time of day"),
    "DICOM": (lambda s: extend(s / T2, 2, b"\x08\x00" * 8), T2, "personal", ERROR, "header extension"),
    "dated sidecar": (
        lambda s: (s / T2.replace(".nii.gz", ".json")).write_text('{"AcquisitionDate": "20190327"}'),
        T2, "personal", ERROR, "JSON sidecar",
    ),
    "synthetic": (lambda s: describe(s / T2, "SYNTHETIC 0123456789ab T2"), T2, "synthetic", ERROR, "offered as"),
    "synthetic extension": (
        lambda s: extend(s / T2, 6, json.dumps(MARK).encode()), T2, "synthetic", ERROR, "offered as real"
    ),
    "synthetic sidecar": (
        lambda s: (s / T2.replace(".nii.gz", ".json")).write_text(json.dumps(MARK)),
        T2, "synthetic", ERROR, "offered as real",
    ),
    "unknown sequence": (
        lambda s: shutil.copy(s / T2, s / "ET-1/p1/T9.nii.gz"), "ET-1/p1/T9.nii.gz", "unknown-sequence", ERROR,
        "unknown sequence",
    ),
}  # fmt: skip


def test_a_sound_site_gives_no_finding(cbsi_site: Path) -> None:
    assert findings_of(cbsi_site) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_file_gives_its_one_finding(cbsi_site: Path, name: str) -> None:
    break_it, file, code, severity, words = BROKEN[name]
    break_it(cbsi_site)
    (finding,) = [finding for finding in findings_of(cbsi_site) if finding.code != "grids" or name == "other grid"]
    assert (finding.code, finding.severity) == (code, severity)
    assert words in finding.finding
    assert finding.file == (cbsi_site / file if file else None)
    assert finding.remedy


def test_all_findings_come_at_once_gravest_of_a_case_first(cbsi_site: Path) -> None:
    truncate(cbsi_site / T1)
    rewrite(cbsi_site, ROI, np.zeros_like)
    describe(cbsi_site / FLAIR, "Time=101010")
    rewrite(cbsi_site, "ET-0/p2/T2.nii.gz", put(np.nan))
    steps: list[tuple[int, int]] = []
    findings = check_catalog(survey_folder(cbsi_site), on_case=lambda done, total: steps.append((done, total)))
    assert [(finding.case, finding.code) for finding in findings] == [
        ("p1", "mask-empty"),
        ("p1", "unreadable"),
        ("p1", "personal"),
        ("p2", "not-finite"),
    ]
    assert steps == [(1, 2), (2, 2)]


def test_a_copy_saved_anew_in_another_type_and_orientation_is_still_found(cbsi_site: Path) -> None:
    data = np.round(voxels(cbsi_site / T2))
    turned = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    save(cbsi_site / T2, data)
    save(cbsi_site / "ET-0/p2/T2.nii.gz", data[::-1].astype(np.int16), turned)
    assert [finding.code for finding in findings_of(cbsi_site) if finding.severity is Severity.ERROR] == ["duplicate"]


def test_a_copy_under_two_cases_of_one_patient_is_a_note(cbsi_site: Path) -> None:
    shutil.copy(cbsi_site / T2, cbsi_site / "ET-0/p2/T2.nii.gz")
    (cbsi_site / "participants.tsv").write_text("participant_id\tpatient_id\np1\tp\np2\tp\n")
    assert [(f.code, f.severity) for f in findings_of(cbsi_site)] == [("duplicate", Severity.INFORMATION)]


@pytest.mark.parametrize(("value", "et_label", "sound"), [(4, 4, True), (3, 3, True), (3, 4, False), (4, 3, False)])
def test_enhancing_tumour_is_4_or_3_as_the_layout_says(tmp_path: Path, value: int, et_label: int, sound: bool) -> None:
    path = save(tmp_path / "seg.nii.gz", np.eye(8, dtype=np.uint8)[None].repeat(8, 0) * np.uint8(value))
    assert (check_labels(read_scan(path), "case", LabelKind.FULL, et_label) == []) is sound


def test_a_series_of_one_volume_is_that_volume(cbsi_site: Path) -> None:
    rewrite(cbsi_site, T2, lambda data: data[..., None])
    assert findings_of(cbsi_site) == []


def test_a_single_sequence_is_checked_without_a_partner(cbsi_site: Path) -> None:
    for path in (cbsi_site / "ET-1/p1").iterdir():
        if path.name != "T2.nii.gz":
            path.unlink()
    assert findings_of(cbsi_site) == []


def test_scan_folder_refuses_what_a_release_has_drawn(cbsi_site: Path) -> None:
    assert isinstance(scan_folder(cbsi_site).cases[0], CatalogCase)
    describe(cbsi_site / T2, "SYNTHETIC 0123456789ab T2")
    with pytest.raises(DataError, match="offered as real"):
        scan_folder(cbsi_site)


def test_a_phantom_is_no_synthetic_scan_and_its_seed_no_date(cbsi_site: Path) -> None:
    describe(cbsi_site / T2, "PHANTOM gliofed 20190327")
    assert findings_of(cbsi_site) == []


@pytest.mark.parametrize(("site", "codes"), [("site-a", set()), ("site-c", {"personal", "grids"})])
def test_real_patients_raise_no_error_and_no_suspicion(real_data: Path, site: str, codes: set[str]) -> None:
    findings = findings_of(real_data / site)
    assert {finding.code for finding in findings} == codes
    assert all(finding.severity is not Severity.ERROR for finding in findings)
