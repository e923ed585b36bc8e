"""A consortium on disk: layouts, losses, the truth beside them, and the same bytes again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.errors import DataError, StudyError
from common.sequences import STRUCTURAL, Sequence
from simulations.phantom.cohort import Cohort, load_cohort, write_cohort
from simulations.phantom.layouts import sequence_path
from simulations.scenario import Layout, Scenario


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_seed_writes_the_same_bytes_with_any_number_of_workers(tmp_path: Path, scenario: Scenario) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        write_cohort(tmp_path / name, scenario, patients=1, seed=7, spacing_mm=4.0, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_the_truth_holds_every_sequence_and_sites_only_what_was_kept(tiny_cohort: Cohort) -> None:
    for patient in tiny_cohort.patients:
        hospital = tiny_cohort.scenario.site(patient.site)
        truth = tiny_cohort.truth / patient.site / patient.case
        names = {path.name.removesuffix(".nii.gz") for path in truth.iterdir()}
        assert names == {"T1", "T1Gd", "T2", "FLAIR", "T1map", "ADC", "CBV", "labels", "brain"}
        for sequence in STRUCTURAL:
            kept = sequence_path(tiny_cohort.sites / patient.site, hospital.layout, patient, sequence)
            assert kept.is_file() == (sequence in patient.sequences)
            if kept.is_file():
                assert kept.read_bytes() == (truth / f"{sequence}.nii.gz").read_bytes()


def test_cohort_json_says_who_is_who(tiny_cohort: Cohort) -> None:
    facts = load_cohort(tiny_cohort.folder)
    assert facts["synthetic"] is True
    assert facts["seed"] == 7
    assert facts["ceiling"] == pytest.approx(0.800, abs=5e-4)
    assert len(facts["patients"]) == 9
    assert set(facts["patients"][0]) >= {"site", "case", "grade", "bbb", "latent", "sequences"}


def test_headers_say_phantom_and_carry_millimetres(tiny_cohort: Cohort) -> None:
    for path in tiny_cohort.sites.rglob("*.nii.gz"):
        image = nib.load(path)
        assert image.header["descrip"].item() == b"PHANTOM gliofed 7"
        assert image.header.get_xyzt_units()[0] == "mm"


def test_each_hospital_keeps_its_own_layout_orientation_and_slices(tiny_cohort: Cohort) -> None:
    found = {}
    for patient in tiny_cohort.patients:
        image = nib.load(tiny_cohort.truth / patient.site / patient.case / "T1.nii.gz")
        spacing = tuple(float(round(step, 3)) for step in image.header.get_zooms())
        found[patient.site] = ("".join(nib.aff2axcodes(image.affine)), spacing)
    assert found == {
        "hospital-a": ("LPS", (4.0, 4.0, 4.0)),
        "hospital-b": ("LAS", (4.0, 4.0, 5.0)),
        "hospital-c": ("LPS", (4.0, 4.0, 6.0)),
    }
    assert list((tiny_cohort.sites / "hospital-b" / "derivatives").rglob("*_desc-brain_mask.nii.gz"))
    assert {path.name for path in (tiny_cohort.sites / "hospital-c").iterdir()} <= {"ET-0", "ET-1"}
    assert (tiny_cohort.sites / "hospital-a" / "participants.tsv").read_text().startswith("participant_id\tbbb_status")


def test_stored_volumes_turn_back_to_the_same_place_in_space(tiny_cohort: Cohort) -> None:
    """The head's bright voxels have one centre in mm, whichever way the axes were stored."""
    patient = tiny_cohort.patients[0]
    image = nib.load(tiny_cohort.truth / patient.site / patient.case / "brain.nii.gz")
    turned = nib.as_closest_canonical(image)
    centres = [
        nib.affines.apply_affine(i.affine, np.argwhere(np.asarray(i.dataobj))).mean(axis=0) for i in (image, turned)
    ]
    np.testing.assert_allclose(*centres, atol=1e-3)


def test_whole_tumour_rois_are_binary_and_full_labels_are_brats(tiny_cohort: Cohort) -> None:
    for roi in (tiny_cohort.sites / "hospital-c").rglob("ROI.nii.gz"):
        assert set(np.unique(np.asarray(nib.load(roi).dataobj))) == {0, 1}
    for labels in (tiny_cohort.sites / "hospital-a").rglob("*_seg.nii.gz"):
        assert set(np.unique(np.asarray(nib.load(labels).dataobj))) <= {0, 1, 2, 4}


def test_relative_blood_volume_is_stored_with_its_factor(tiny_cohort: Cohort) -> None:
    patient = tiny_cohort.patients[0]
    image = nib.load(tiny_cohort.truth / patient.site / patient.case / "CBV.nii.gz")
    assert image.dataobj.slope == pytest.approx(0.01)
    assert image.get_fdata().max() < 20.1


def test_with_skull_brain_masks_stay_out_of_the_sites(tmp_path: Path, scenario: Scenario) -> None:
    cohort = write_cohort(tmp_path / "head", scenario, 1, seed=1, spacing_mm=4.0, with_skull=True)
    assert not [p for p in cohort.sites.rglob("*.nii.gz") if "brain" in p.name.lower()]
    patient = cohort.patients[0]
    truth = cohort.truth / patient.site / patient.case
    brain = np.asarray(nib.load(truth / "brain.nii.gz").dataobj) > 0
    image = np.asarray(nib.load(truth / "T1.nii.gz").dataobj)
    assert (image[~brain] > 200).sum() > 0.2 * brain.sum()


def test_progress_is_told_after_every_patient(tmp_path: Path, scenario: Scenario) -> None:
    told: list[tuple[int, int]] = []
    write_cohort(tmp_path / "c", scenario, 1, seed=1, spacing_mm=4.0, on_patient=lambda *count: told.append(count))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, scenario: Scenario) -> None:
    (tmp_path / "old").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        write_cohort(tmp_path, scenario, 1, seed=1)


@pytest.mark.parametrize(("patients", "spacing_mm"), [(0, 2.0), (1, 0.5), (1, 8.0)])
def test_impossible_numbers_are_refused(tmp_path: Path, scenario: Scenario, patients: int, spacing_mm: float) -> None:
    with pytest.raises(StudyError):
        write_cohort(tmp_path / "c", scenario, patients, seed=1, spacing_mm=spacing_mm)


def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        write_cohort(tmp_path / "c", scenario, 1, seed=1, spacing_mm=4.0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_unfinished_cohort_is_no_cohort(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text(json.dumps({"synthetic": True})[:-3])
    with pytest.raises(DataError, match="no finished phantom cohort"):
        load_cohort(tmp_path)


def test_a_phantom_folder_of_each_layout_has_its_own_names(tiny_cohort: Cohort) -> None:
    patient = tiny_cohort.patients[0]
    names = [sequence_path(Path("s"), layout, patient, Sequence.FLAIR).name for layout in Layout]
    assert names == ["hospital-a-001_flair.nii.gz", "hospital-a-001_FLAIR.nii.gz", "T2F.nii.gz"]
