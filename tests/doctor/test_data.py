"""What scans can give away or get wrong: real NIfTI files, broken one at a time, each with its remedy."""

from __future__ import annotations

import shutil

import numpy as np

from client.doctor.finding import Mark
from tests.doctor.conftest import Hospital, brain, write_scan


def test_names_that_no_layout_knows_are_told(hospital: Hospital) -> None:
    (hospital.scans / "smith-001" / "smith-001_t1.nii.gz").rename(hospital.scans / "smith-001" / "smith-001_odd.nii.gz")
    found = hospital.ask("catalog")
    assert (found.mark, found.code) == (Mark.FAIL, "names")
    assert "gliofed-client check" in found.remedy


def test_a_folder_without_scans_is_told(hospital: Hospital) -> None:
    shutil.rmtree(hospital.scans)
    assert hospital.ask("catalog").mark is Mark.FAIL
    found = hospital.ask("scans-read-only")
    assert (found.mark, found.code) == (Mark.FAIL, "no-scans")
    assert "correct folder in site.toml" in found.remedy
    assert hospital.ask("scans").what == "not checked: no scans are understood"


def test_a_truncated_scan_is_told(hospital: Hospital) -> None:
    path = hospital.scans / "smith-001" / "smith-001_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    found = hospital.ask("scans")
    assert (found.mark, found.code, found.figures) == (Mark.FAIL, "scans", {"errors": 1, "warnings": 0})
    assert "1 unreadable" in found.what
    assert "export it again" in found.remedy


def test_one_image_under_two_patients_is_told(hospital: Hospital) -> None:
    shutil.copy(
        hospital.scans / "smith-001" / "smith-001_t1.nii.gz", hospital.scans / "smith-002" / "smith-002_t1.nii.gz"
    )
    found = hospital.ask("duplicates")
    assert (found.mark, found.figures) == (Mark.FAIL, {"errors": 1, "warnings": 0})
    assert "give both one patient" in found.remedy
    assert hospital.ask("scans").mark is Mark.PASS


def test_one_patient_written_in_two_ways_is_asked_about(hospital: Hospital) -> None:
    (hospital.scans / "participants.tsv").write_text(
        "participant_id\tpatient_id\nsmith-001\tSmith_7\nsmith-002\tsmith-007\n"
    )
    found = hospital.ask("patient-keys")
    assert (found.mark, found.figures) == (Mark.WARN, {"pairs": 1})
    assert "same patient_id in participants.tsv" in found.remedy


def test_a_name_in_a_header_is_told(hospital: Hospital) -> None:
    write_scan(hospital.scans / "smith-001" / "smith-001_t1.nii.gz", brain(1, "t1"), "PatientName=Doe^Jane")
    found = hospital.ask("identifiers")
    assert (found.mark, found.code) == (Mark.FAIL, "identifiers")
    assert "clear the field" in found.remedy


def head() -> np.ndarray:
    """An intact head: a skull of 15 cm by 19 by 22 that tapers nowhere, in air that is not quite dark."""
    points = np.stack(np.meshgrid(*(np.arange(size) - size / 2 for size in (44, 52, 60)), indexing="ij")) * 4.0
    inside = ((points / np.array([75, 95, 110])[:, None, None, None]) ** 2).sum(axis=0) < 1
    noise = np.random.default_rng(0).uniform(1, 6, inside.shape)
    return np.where(inside, 100 + noise, noise).astype(np.float32)


def test_a_head_with_a_face_is_warned_of_and_without_it_not(hospital: Hospital) -> None:
    path = hospital.scans / "smith-001" / "smith-001_t1.nii.gz"
    write_scan(path, head())
    found = hospital.ask("faces")
    assert (found.mark, found.figures) == (Mark.WARN, {"faces": 1, "looked_at": 6})
    assert "deface or skull-strip them" in found.remedy
    defaced = head()
    defaced[:, 26 + 6 :, : 30 + 7] = 0  # from 2.5 cm before the middle on, below the eyes, 8 cm under the top
    write_scan(path, defaced)
    assert hospital.ask("faces").mark is Mark.PASS


def test_a_face_in_the_last_sequence_of_a_case_alone_is_seen(hospital: Hospital) -> None:
    write_scan(hospital.scans / "smith-001" / "smith-001_flair.nii.gz", head())
    found = hospital.ask("faces")
    assert (found.mark, found.figures) == (Mark.WARN, {"faces": 1, "looked_at": 6})


def test_a_voxel_that_is_no_number_does_not_hide_a_face(hospital: Hospital) -> None:
    voxels = head()
    voxels[0, 0, 0] = np.nan
    write_scan(hospital.scans / "smith-001" / "smith-001_t1.nii.gz", voxels)
    assert hospital.ask("faces").figures == {"faces": 1, "looked_at": 6}


def test_only_what_could_be_read_counts_as_looked_at(hospital: Hospital) -> None:
    for path in (hospital.scans / "smith-001").iterdir():
        path.write_bytes(b"")
    assert hospital.ask("faces").figures == {"looked_at": 5}
    for path in hospital.scans.glob("*/*.nii.gz"):
        path.write_bytes(b"")
    assert hospital.ask("faces").mark is Mark.SKIP


def test_where_there_are_no_structural_scans_no_face_is_looked_for(hospital: Hospital) -> None:
    shutil.rmtree(hospital.scans)
    assert hospital.ask("faces").mark is Mark.SKIP
