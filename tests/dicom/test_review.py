"""What the table proposes, leaves to a person or refuses; nothing is guessed."""

import pytest

from common.sequences import Sequence
from tests.dicom.conftest import AGENT, FLAIR, NATIVE, T1, T1GD, T2, rewrite


@pytest.mark.parametrize(
    "said",
    [
        "No contrast",
        "without",
        "ohne KM",
        "keine KM",
        "NO GD",
        "not given",
        "none given",
        "unknown",
        "?",
        "non injecte",
    ],
)
def test_an_agent_tag_that_names_no_agent_makes_no_t1gd(hospital, said):
    hospital.series(1, {**T1, "ContrastBolusAgent": said})
    assert hospital.rows()["1"]["take"] in ("T1", "?")


@pytest.mark.parametrize(("said", "dose_ml", "take"), [("Gadovist", 0.0, "?"), ("Omniscan", 15.0, "T1Gd")])
def test_an_agent_without_a_dose_is_left_to_a_person(hospital, said, dose_ml, take):
    hospital.series(1, {**T1, "ContrastBolusAgent": said, "ContrastBolusVolume": dose_ml})
    assert hospital.rows()["1"]["take"] == take


@pytest.mark.parametrize(
    ("tags", "take", "remark"),
    [
        ({**T1, **NATIVE}, "T1", ""),
        ({**T1, "SeriesDescription": "T1 MPR ohne KM"}, "T1", ""),
        (T1GD, "T1Gd", ""),
        ({**T1, "SeriesDescription": "T1w tra nach KM-Gabe"}, "T1Gd", ""),
        ({**T1, "SeriesDescription": "AX T1 +C"}, "T1Gd", ""),
        ({**T1, "SeriesDescription": "T1 SE sans gado"}, "T1", ""),
        ({**T1, "SeriesDescription": "T1 con mdc"}, "T1Gd", ""),
        ({**T1, **AGENT, "SeriesDescription": "T1 ohne KM"}, "?", "the description that it was not"),
        ({**T1, "ContrastBolusAgent": "none", "SeriesDescription": "T1 mit KM"}, "?", "the description that it was"),
        (T1, "?", "nothing says whether contrast agent was given"),
        ({**T1, "SeriesDescription": "T1 nativ und post KM"}, "?", "both with and without"),
        ({**T2, "SeriesDescription": "t1_tse"}, "?", "the description says T1, the tags say T2"),
        ({**T2, "SeriesDescription": ""}, "T2", ""),
        ({**FLAIR, "SeriesDescription": "dark-fluid axial"}, "FLAIR", ""),
        ({**FLAIR, **AGENT}, "FLAIR", "after contrast agent"),
        ({**T2, "RepetitionTime": None, "EchoTime": None}, "?", "by its description alone"),
        ({**T1, **NATIVE, "ImageType": ["DERIVED", "SECONDARY", "M"]}, "?", "perhaps a reformat"),
        ({**T1, **NATIVE, "ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "no", "a reformat"),
        ({**T1, "SeriesDescription": "localizer"}, "no", "a localiser"),
        ({**T1, "SeriesDescription": "T1 Subtraktion"}, "no", "a subtraction"),
        ({**T1, "SeriesDescription": "TOF 3D angio"}, "no", "angiography"),
        ({**T1, **NATIVE, "BodyPartExamined": "KNEE"}, "no", "not of the head"),
        ({**T2, "SeriesDescription": "", "EchoTime": 20}, "no", "proton density"),
    ],
)
def test_a_series_is_proposed_marked_or_left_out(hospital, tags, take, remark):
    hospital.series(1, tags)
    row = hospital.rows()["1"]
    assert row["take"] == take
    assert remark in row["remarks"]
    assert remark or not row["remarks"]


def test_an_unlabelled_t1_before_the_contrast_agent_of_its_session_is_t1(hospital):
    hospital.series(3, T1)
    hospital.series(5, T1GD)
    rows = hospital.rows()
    assert (rows["3"]["take"], rows["3"]["confidence"], rows["5"]["take"]) == ("T1", "medium", "T1Gd")


def test_an_unlabelled_t1_after_it_is_left_to_a_person(hospital):
    hospital.series(3, T1GD)
    hospital.series(5, T1)
    assert hospital.rows()["5"]["take"] == "?"


def test_an_unlabelled_t1_after_a_perfusion_measurement_is_left_to_a_person(hospital):
    hospital.series(2, {**T1, "SeriesDescription": "ep2d_perf"})
    hospital.series(3, T1)
    hospital.series(5, T1GD)
    assert hospital.rows()["3"]["take"] == "?"


def test_slices_that_were_labelled_differently_are_left_to_a_person(hospital):
    for path in hospital.series(1, {**T1, **NATIVE})[6:]:
        rewrite(path, SeriesDescription="t1 KM")
    row = hospital.rows()["1"]
    assert (row["take"], row["remarks"]) == ("?", "its slices are labelled differently")


def test_two_candidates_of_one_sequence_are_both_left_to_a_person(hospital):
    hospital.series(1, T2, Sequence.T2)
    hospital.series(2, T2, Sequence.T2, plane="coronal")
    rows = hospital.rows()
    assert [row["take"] for row in rows.values()] == ["?", "?"]
    assert "one of 2 candidates for T2" in rows["1"]["remarks"]
    assert (rows["1"]["plane"], rows["2"]["plane"]) == ("axial", "coronal")


def test_nothing_is_converted_while_a_series_is_undecided(hospital):
    hospital.series(1, T2, Sequence.T2)
    hospital.series(2, {**T1, **AGENT, "SeriesDescription": "T1 ohne KM"})
    hospital.run()
    code, _, error = hospital.accept()
    assert code == 3
    assert "is undecided (the tags say" in error
    assert not list(hospital.out.glob("sub-*"))
    hospital.decide(n2="T1Gd")
    assert hospital.accept()[0] == 0
    assert len(list(hospital.out.glob("sub-*/ses-*/anat/*.nii.gz"))) == 2


def test_every_wrong_decision_is_named_at_once(hospital):
    hospital.series(1, {**T1, **NATIVE})
    hospital.series(2, T2, Sequence.T2)
    for path in hospital.series(3, FLAIR, Sequence.FLAIR)[10:11]:
        path.unlink()
    hospital.run()
    hospital.decide(n1="T2", n3="FLAIR")
    code, _, error = hospital.accept()
    assert code == 3
    assert "both taken as T2" in error
    assert "cannot be taken (1 missing inside" in error


def test_a_decision_outlives_another_look_at_the_folder(hospital):
    hospital.series(1, T1)
    hospital.run()
    hospital.decide(n1="T1")
    hospital.series(2, T2, Sequence.T2)
    rows = hospital.rows()
    assert (rows["1"]["take"], rows["2"]["take"]) == ("T1", "T2")


def test_a_folder_that_changed_under_its_table_is_refused(hospital):
    files = hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    files[-1].unlink()
    code, _, error = hospital.accept()
    assert code == 3
    assert "write the table again" in error


def test_semicolons_and_a_comment_column_as_spreadsheets_write_them_are_read(hospital):
    hospital.series(1, {**T1, **NATIVE})
    key = hospital.rows()["1"]["series"]
    hospital.table.write_text(f"series;take;comment\r\n{key};t1;looks fine\r\n", encoding="utf-8-sig")
    assert hospital.accept()[0] == 0


def test_the_first_run_writes_the_table_and_nothing_else(hospital):
    before = {path: path.read_bytes() for path in hospital.series(1, {**T1, **NATIVE})}
    code, shown, _ = hospital.run()
    assert code == 0
    assert "t1_se_tra nativ" in shown
    assert [path.name for path in hospital.out.iterdir()] == ["import.csv"]
    assert "t1_se_tra" not in hospital.table.read_text()
    assert all(path.read_bytes() == blob for path, blob in before.items())


def test_nothing_is_written_among_the_dicom(hospital):
    hospital.series(1, T1)
    hospital.out = hospital.dicom / "scans"
    code, _, error = hospital.run()
    assert (code, "lie in one another" in error) == (2, True)
    assert not hospital.out.exists()


def test_a_folder_without_anything_usable_ends_with_three(hospital):
    hospital.series(1, {**T1, "SeriesDescription": "localizer"})
    assert hospital.run()[0] == 3
