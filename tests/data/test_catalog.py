"""Every layout is read by its names alone, and what is not understood is said, all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from client.config import SiteConfig
from client.data.cache import LabelKind
from client.data.catalog import scan_folder, survey_folder
from common.errors import DataError
from common.sequences import STRUCTURAL, Sequence

Touch = Callable[..., Path]


def site_config(folder: Path, **settings: object) -> SiteConfig:
    return SiteConfig.model_validate({"name": "a", "folder": folder, "workdir": folder.parent / "work", **settings})


def test_brats_2021_names_give_four_sequences_and_full_labels(touch: Touch) -> None:
    words = ("t1", "t1ce", "t2", "flair", "seg")
    catalog = scan_folder(touch(*(f"BraTS2021_00001/BraTS2021_00001_{word}.nii.gz" for word in words)))
    (case,) = catalog.cases
    assert catalog.layout == "brats2021"
    assert (case.case, case.patient, tuple(case.images)) == ("BraTS2021_00001", "BraTS2021_00001", STRUCTURAL)
    assert (case.label_kind, case.et_label, case.bbb_disrupted) == (LabelKind.FULL, 4, None)


def test_brats_2023_sessions_are_one_patient_and_enhancing_tumour_is_3(touch: Touch) -> None:
    words = ("t1n", "t1c", "t2w", "t2f", "seg")
    cases = ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001")
    catalog = scan_folder(touch(*(f"{case}/{case}-{word}.nii.gz" for case in cases for word in words)))
    assert catalog.layout == "brats2023"
    assert tuple(case.case for case in catalog.cases) == cases
    assert catalog.patients == ("BraTS-GLI-00005",)
    assert catalog.cases[0].images[Sequence.T1GD].name.endswith("-t1c.nii.gz")
    assert catalog.cases[0].et_label == 3


def test_cbsi_folders_give_the_barrier_status_and_a_whole_tumour(touch: Touch) -> None:
    catalog = scan_folder(touch("ET-1/p1/T1.nii.gz", "ET-1/p1/ROI.nii.gz", "ET-0/p2/T2F.nii.gz", "p3/T1C.nii"))
    assert catalog.layout == "cbsi"
    assert [case.bbb_disrupted for case in catalog.cases] == [True, False, None]
    assert [tuple(case.images) for case in catalog.cases] == [(Sequence.T1,), (Sequence.FLAIR,), (Sequence.T1GD,)]
    assert [case.label_kind for case in catalog.cases] == [LabelKind.WHOLE, LabelKind.NONE, LabelKind.NONE]


def test_ucsf_pdgm_follow_ups_join_their_patient_and_grades_come_from_its_table(touch: Touch) -> None:
    words = ("T1", "T1c", "T2", "FLAIR", "ADC", "SWI", "ASL", "DWI", "tumor_segmentation", "brain_segmentation")
    unused = ("T1_bias", "DTI_eddy_FA", "DTI_eddy_noreg", "brain_parenchyma_segmentation")
    first = [f"UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{word}.nii.gz" for word in (*words, *unused)]
    folder = touch(*first, "UCSF-PDGM-0004_FU003d_nifti/UCSF-PDGM-0004_FU003d_T1.nii.gz")
    (folder / "UCSF-PDGM-metadata_v2.csv").write_text("ID,Sex,WHO CNS Grade\nUCSF-PDGM-004,M,4\n")
    catalog = scan_folder(folder)
    visit, follow_up = sorted(catalog.cases, key=lambda case: len(case.images), reverse=True)
    assert catalog.layout == "ucsf-pdgm"
    assert visit.patient == follow_up.patient == "UCSF-PDGM-0004"
    assert set(visit.images) == {Sequence(word) for word in ("T1", "T1Gd", "T2", "FLAIR", "ADC", "SWI", "ASL", "DWI")}
    assert visit.brain_mask is not None and visit.label_kind is LabelKind.FULL
    assert visit.grade == 4
    assert len(catalog.ignored) == len(unused)


def test_bids_reads_sessions_contrast_derivatives_and_participants(touch: Touch) -> None:
    images = [f"sub-01/ses-{day}/anat/sub-01_ses-{day}_{word}.nii.gz" for day in "ab" for word in ("T1w", "T1map")]
    folder = touch(
        *images,
        "sub-01/ses-a/anat/sub-01_ses-a_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "derivatives/masks/sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz",
        "derivatives/masks/sub-01/ses-a/anat/sub-01_ses-a_desc-tumour_dseg.nii.gz",
        "derivatives/masks/sub-01/ses-b/anat/sub-01_ses-b_desc-tumor_mask.nii.gz",
        "derivatives/prep/sub-01/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz",
        "derivatives/prep/atlas.nii.gz",
    )
    (folder / "participants.tsv").write_text("participant_id\tbbb_status\tgrade\nsub-01\tdisrupted\tIV\n")
    first, second = scan_folder(folder).cases
    assert (first.case, second.case, first.patient, second.patient) == (
        "sub-01_ses-a",
        "sub-01_ses-b",
        "sub-01",
        "sub-01",
    )
    assert set(first.images) == {Sequence.T1, Sequence.T1GD, Sequence.T1MAP}
    assert first.brain_mask is not None
    assert (first.label_kind, second.label_kind) == (LabelKind.FULL, LabelKind.WHOLE)
    assert (first.bbb_disrupted, first.grade) == (True, 4)


def test_a_mapping_in_site_toml_reads_any_other_layout(touch: Touch) -> None:
    folder = touch("k7/v1/pre.nii.gz", "k7/v1/post_gd.nii.gz", "k7/v1/roi.nii.gz", "k7/v1/localizer.nii.gz")
    patterns = {
        "T1": "{patient}/{case}/pre.nii.gz",
        "T1Gd": "{patient}/{case}/post*",
        "labels": "{patient}/{case}/roi.*",
    }
    site = site_config(folder, layout={"patterns": patterns, "label_kind": "full", "et_label": 3})
    (case,) = scan_folder(folder, site).cases
    assert (case.case, case.patient, case.et_label, case.label_kind) == ("v1", "k7", 3, LabelKind.FULL)
    assert tuple(case.images) == (Sequence.T1, Sequence.T1GD)
    assert scan_folder(folder / "k7", site).cases == (case,)


@pytest.mark.parametrize("part", ["ET-1", "ET-1/p1"])
def test_a_part_of_a_cbsi_site_keeps_its_status(touch: Touch, part: str) -> None:
    folder = touch("ET-1/p1/T1.nii.gz", "ET-0/p2/T1.nii.gz")
    (case,) = scan_folder(folder / part).cases
    assert (case.case, case.bbb_disrupted) == ("p1", True)


def test_one_bids_subject_brings_its_masks_and_its_row_along(touch: Touch) -> None:
    names = [f"sub-{number}/anat/sub-{number}_T1w.nii.gz" for number in (1, 2)]
    masks = [f"derivatives/m/sub-{number}/anat/sub-{number}_desc-brain_mask.nii.gz" for number in (1, 2)]
    folder = touch(*names, *masks)
    (folder / "participants.tsv").write_text("participant_id\tbbb_status\nsub-2\tintact\n")
    (case,) = scan_folder(folder / "sub-2").cases
    assert (case.case, case.bbb_disrupted) == ("sub-2", False)
    assert case.brain_mask == (folder / masks[1])


def test_one_brats_case_finds_the_table_beside_it(touch: Touch) -> None:
    folder = touch("c1/c1_t1.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tpatient_id\nc1\tp9\n")
    assert scan_folder(folder / "c1").cases[0].patient == "p9"


def test_the_patient_key_comes_from_where_site_toml_says(touch: Touch) -> None:
    folder = touch("H12-a/H12-a_t1.nii.gz", "H12-b/H12-b_t1.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tpatient_id\nH12-a\tx\nH12-b\ty\n")
    pattern = {"source": "pattern", "pattern": "^(H[0-9]+)"}
    assert scan_folder(folder).patients == ("x", "y")
    assert scan_folder(folder, site_config(folder, patient={"source": "layout"})).patients == ("H12-a", "H12-b")
    assert scan_folder(folder, site_config(folder, patient=pattern)).patients == ("H12",)
    with pytest.raises(DataError, match="does not match its name"):
        scan_folder(folder, site_config(folder, patient=pattern | {"pattern": "^(K)"}))


def test_unknown_sequences_are_all_named_with_their_remedy(touch: Touch) -> None:
    folder = touch("c/c_t1.nii.gz", "c/c_t7.nii.gz", "d/d_xyz.nii.gz")
    with pytest.raises(DataError, match="unknown sequence") as caught:
        scan_folder(folder)
    lines = str(caught.value).splitlines()
    assert [("c_t7" in line, "d_xyz" in line) for line in lines] == [(True, False), (False, True)]
    assert all("layout.ignore" in line for line in lines)
    ignoring = site_config(folder, layout={"ignore": ["**/*_t7.nii.gz", "d/*"]})
    assert len(scan_folder(folder, ignoring).ignored) == 2


def test_an_empty_folder_no_folder_and_strange_names_each_say_what_to_give(touch: Touch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        scan_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no NIfTI file"):
        scan_folder(touch("readme.txt"))
    with pytest.raises(DataError, match=r"layout\.patterns"):
        scan_folder(touch("weird/what.nii.gz"))


def test_two_files_for_one_sequence_are_refused(touch: Touch) -> None:
    with pytest.raises(DataError, match=r"T1 again in .*T1\.nii\.gz"):
        scan_folder(touch("p/T1.nii", "p/T1.nii.gz"))


def test_a_case_under_both_statuses_is_refused(touch: Touch) -> None:
    folder = touch("ET-1/p/T1.nii.gz", "ET-0/p/T2.nii.gz", "ET-0/q/T1.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tbbb_status\nq\tdisrupted\n")
    with pytest.raises(DataError) as caught:
        scan_folder(folder)
    assert "ET-1 and in ET-0" in str(caught.value)
    assert "opposite BBB statuses" in str(caught.value)


def test_wrong_lines_of_participants_are_all_listed(touch: Touch) -> None:
    folder = touch("c/c_t1.nii.gz")
    rows = ["participant_id\tbbb_status\tgrade", "c\topen\t", "c2\tintact\t9", "\tintact\t"]
    (folder / "participants.tsv").write_text("\n".join(rows))
    with pytest.raises(DataError) as caught:
        scan_folder(folder)
    text = str(caught.value)
    assert all(word in text for word in ("2: bbb_status 'open'", "3: grade '9'", "4: no participant_id"))


def test_a_listed_participant_without_scans_and_a_lone_mask_are_remarked(touch: Touch) -> None:
    folder = touch("ET-1/p/T1.nii.gz", "ET-1/q/ROI.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\nP\n")
    catalog = survey_folder(folder)
    assert [remark.code for remark in catalog.remarks] == ["lone-mask", "no-scans"]
    assert [case.case for case in catalog.cases] == ["p"]


def test_the_three_real_sites_are_recognised(real_data: Path) -> None:
    found = {site: scan_folder(real_data / site) for site in ("site-a", "site-b", "site-c")}
    assert [catalog.layout for catalog in found.values()] == ["cbsi", "brats2021", "bids"]
    status = {case.case: case.bbb_disrupted for catalog in found.values() for case in catalog.cases}
    assert status == {
        "TCGA-HT-7693": True,
        "TCGA-HT-7884": False,
        "TCGA-HT-8107": False,
        "TCGA-DU-7294": False,
        "sub-TCGAFG6692": True,
    }
    assert Sequence.T1GD not in found["site-a"].cases[2].images
