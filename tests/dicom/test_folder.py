"""Folders as hospitals have them: mixed, twice, broken, of several people; every file is used or named."""

import json
import os
import shutil
import sys
from pathlib import Path

import pydicom
import pytest

from client.dicom.objects import read_object
from client.dicom.patient_key import PatientSecret
from client.dicom.reason import Reason
from client.dicom.rows import build_rows
from client.dicom.survey import survey
from common.sequences import Sequence
from tests.dicom.codecs import JPEG_2000, JPEG_LS, RLE
from tests.dicom.conftest import AGENT, NATIVE, T1, T2, rewrite

LAST = "1.2.840.10008.5.1.4.1.1."


def refused(hospital):
    """Return reason → number of files."""
    _, shown, _ = hospital.run("--json")
    return {reason: len(entry["files"]) for reason, entry in json.loads(shown)["refused_files"].items()}


def test_every_file_that_is_no_plain_mr_slice_is_named_with_its_reason_at_once(hospital):
    hospital.series(1, {**T1, **NATIVE})
    for number, tags in enumerate(
        [
            {"SOPClassUID": LAST + "7"},
            {"SOPClassUID": LAST + "2", "Modality": "CT"},
            {"SOPClassUID": LAST + "4.3"},
            {"BurnedInAnnotation": "YES"},
            {"PatientID": None},
            {"PatientID": "ANONYMOUS"},
            {"ImagePositionPatient": None},
            {"SeriesInstanceUID": None},
            {"PhotometricInterpretation": "RGB"},
        ],
        start=10,
    ):
        for path in hospital.series(number, {**T1, **tags}, place="odd")[1:]:
            path.unlink()
    (hospital.dicom / "readme.txt").write_text("foreign")
    (hospital.dicom / "cut.dcm").write_bytes(next(hospital.dicom.glob("IM001*")).read_bytes()[:-100])
    (hospital.dicom / "cut2.dcm").write_bytes(next(hospital.dicom.glob("IM001*")).read_bytes()[:300])
    os.mkfifo(hospital.dicom / "pipe")
    (hospital.dicom / "linked").symlink_to(hospital.folder)
    assert refused(hospital) == {
        **{"secondary": 1, "not-mr": 1, "multi-frame": 1, "burned-in": 1, "no-patient": 2, "no-geometry": 1},
        **{"no-uid": 1, "not-grey": 1, "foreign": 1, "broken": 2, "special": 2},
    }
    assert "left out: annotation is burned into its pixels" in hospital.run()[1]


def test_a_deflated_object_is_refused_before_it_is_unpacked(hospital):
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    path, *_ = hospital.series(1, {**T1, **NATIVE})
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert refused(hospital) == {"compressed": 1}


def test_two_patients_of_one_name_are_two_and_one_patient_in_two_folders_is_one(hospital):
    hospital.series(1, {**T1, **NATIVE}, patient="A1", study=1, place="cd1", PatientName="Meier^Anna")
    hospital.series(2, {**T1, **NATIVE}, patient="B2", study=2, place="cd2", PatientName="Meier^Anna")
    hospital.series(3, {**T1, **NATIVE}, patient="A1", study=3, place="cd3/more", StudyDate="20240205")
    rows = hospital.rows()
    assert rows["1"]["patient"] == rows["3"]["patient"] != rows["2"]["patient"]
    assert rows["1"]["session"] != rows["3"]["session"]
    assert [rows[number]["day"] for number in "123"] == ["0", "0", "34"]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19600101"}, "two birth dates"),
        ({"IssuerOfPatientID": "HIS"}, {}, "with and without an issuer"),
    ],
)
def test_a_patient_number_that_may_mean_two_people_is_refused(hospital, one, other, said):
    hospital.series(1, {**T1, **NATIVE, **one}, study=1)
    hospital.series(2, {**T1, **NATIVE, **other}, study=2)
    rows = hospital.rows()
    assert all(row["take"] == "no" and said in row["remarks"] for row in rows.values())


def test_the_same_number_of_two_issuers_is_two_patients(hospital):
    hospital.series(1, {**T1, **NATIVE}, study=1, IssuerOfPatientID="HIS")
    hospital.series(2, {**T1, **NATIVE}, study=2, IssuerOfPatientID="RIS")
    rows = hospital.rows()
    assert rows["1"]["patient"] != rows["2"]["patient"]


def test_a_study_of_two_patients_is_refused(hospital):
    hospital.series(1, {**T1, **NATIVE}, patient="A1")
    hospital.series(2, T2, Sequence.T2, patient="B2")
    assert all("holds two PatientIDs" in row["remarks"] for row in hospital.rows().values())


def test_copies_are_counted_once_and_different_objects_of_one_uid_refused(hospital):
    files = hospital.series(1, {**T1, **NATIVE})
    shutil.copytree(hospital.dicom, hospital.dicom / "again", ignore=shutil.ignore_patterns("again"))
    assert refused(hospital) == {"copy": len(files)}
    assert hospital.rows()["1"]["take"] == "T1"
    other = hospital.dicom / "again" / files[3].name
    other.write_bytes(other.read_bytes()[:-2] + b"\1\1")
    assert "one SOPInstanceUID" in hospital.rows()["1"]["remarks"]


@pytest.mark.parametrize(("gone", "take", "said"), [(5, "no", "1 missing inside"), (0, "?", "1 of its image numbers")])
def test_a_missing_slice_is_refused_inside_and_doubted_at_the_edge(hospital, gone, take, said):
    hospital.series(1, {**T1, **NATIVE})[gone].unlink()
    row = hospital.rows()["1"]
    assert (row["take"], said in row["remarks"]) == (take, True)


def test_an_edge_slice_that_the_scanner_announced_is_missed(hospital):
    files = hospital.series(1, {**T1, **NATIVE}, ImagesInAcquisition=len(hospital.series(1, T1)))
    files[-1].unlink()
    row = hospital.rows()["1"]
    assert (row["take"], f"announced {len(files)} images" in row["remarks"]) == ("?", True)


def test_one_series_of_two_orientations_is_two_rows(hospital):
    hospital.series(1, {**T1, **NATIVE})
    for number, path in enumerate(hospital.series(1, {**T1, **NATIVE}, plane="sagittal", place="sagittal")):
        rewrite(path, SOPInstanceUID=f"1.2.3.{number + 1}")
    rows = hospital.rows()
    assert sorted(row["plane"] for row in rows.values()) == ["axial", "sagittal"]
    assert all("one of 2 candidates" in row["remarks"] for row in rows.values())


def test_echoes_of_one_series_are_named_apart(hospital):
    late = {**T2, "SeriesDescription": "pd_t2_tse"}
    hospital.series(1, {**late, "EchoNumbers": 2}, Sequence.T2)
    for number, path in enumerate(hospital.series(1, {**late, "EchoTime": 15, "EchoNumbers": 1}, place="early")):
        rewrite(path, SOPInstanceUID=f"1.2.3.{number + 1}")
    rows = {row["evidence"].split(";")[0]: row["take"] for row in hospital.rows().values()}
    assert rows["TR 4000, TE 15"] != "T2"
    assert rows["TR 4000, TE 100"] in ("T2", "?")


def test_a_series_that_fills_its_places_twice_is_refused(hospital):
    hospital.series(1, {**T1, **NATIVE})
    for number, path in enumerate(hospital.series(1, {**T1, **NATIVE}, place="twice")):
        rewrite(path, SOPInstanceUID=f"1.2.3.{number + 1}")
    assert "several slices at one place" in hospital.rows()["1"]["remarks"]


def test_odd_characters_in_tags_reach_no_name_and_no_file(hospital):
    evil = "../../../tmp/evil%s;$(touch x)`\"'\n=cmd|' /C calc'!A0"
    tags = {**T1, "SeriesDescription": "t1 nativ " + evil[:40], "ProtocolName": evil[:60], "PatientName": evil[:50]}
    hospital.series(1, {**tags, "SequenceName": "..\\..", **AGENT}, patient="../../x y")
    hospital.run()
    hospital.decide(n1="T1Gd")
    assert hospital.accept()[0] == 0
    names = {path.name for path in hospital.folder.rglob("*") if "dicom" not in path.parts}
    assert all(name.replace(".", "").replace("-", "").replace("_", "").isalnum() for name in names - {""}), names
    assert not (hospital.folder.parent / "evil").exists()


def test_uneven_and_slanted_stacks_are_refused(hospital):
    for number, normal in ((1, (0.7, 0, 0)), (2, (0, 0.4, 0))):
        for index, path in enumerate(hospital.series(number, {**T1, **NATIVE}, study=number, plane="sagittal")):
            from pydicom import dcmread

            old = [float(each) for each in dcmread(path).ImagePositionPatient]
            moved = [
                value + part * (index if number == 2 else index == 4) for value, part in zip(old, normal, strict=True)
            ]
            rewrite(path, ImagePositionPatient=[f"{value:.6f}" for value in moved])
    rows = hospital.rows()
    assert "unevenly spaced" in rows["1"]["remarks"]
    assert "gantry tilt" in rows["2"]["remarks"]


def test_names_of_any_bytes_are_borne(hospital):
    hospital.series(1, {**T1, **NATIVE}, place=os.fsdecode(b"Sch\xe4del \x1b[2J"))
    (hospital.dicom / os.fsdecode(b"M\xfcller\x1b[2J.txt")).write_text("foreign")
    code, shown, _ = hospital.run()
    assert (code, "M?ller?[2J.txt" in shown, "\x1b" in shown) == (0, True, False)
    assert hospital.accept()[0] == 0


def test_folders_of_any_depth_are_borne(hospital, monkeypatch):
    (hospital.dicom / "note.txt").write_text("foreign")
    monkeypatch.chdir(hospital.dicom)
    depth = sys.getrecursionlimit() + 10
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    try:
        assert len(survey(hospital.dicom).refused[Reason.FOREIGN]) == 1
    finally:
        for _ in range(depth):  # what clears up after the tests goes down by recursion
            os.chdir("..")
            Path("d").rmdir()


def test_time_points_of_one_series_are_named_apart(hospital):
    for number in (1, 2):
        for index, path in enumerate(hospital.series(1, {**T1, **NATIVE}, place=f"t{number}")):
            rewrite(path, SOPInstanceUID=f"1.2.{number}.{index + 1}", TemporalPositionIdentifier=number)
    assert [row["part"] for row in hospital.rows().values()] == ["part 1 of 2", "part 2 of 2"]


def test_a_series_number_of_two_studies_is_refused(hospital):
    for index, path in enumerate(hospital.series(1, {**T1, **NATIVE})):
        if index > 5:
            rewrite(path, StudyInstanceUID="1.2.3.4")
    assert all("stands in two studies" in row["remarks"] for row in hospital.rows().values())


def test_of_the_files_of_pydicoms_own_collection_each_is_used_or_named():
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = survey(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(map(len, found.refused.values())) + len(found.headers) == len(files)
    assert {Reason.COMPRESSED, Reason.INDEX, Reason.NOT_MR, Reason.SECONDARY, Reason.FOREIGN} <= set(found.refused)
    rows = build_rows(found, PatientSecret(b"k" * 32))
    assert {row.take for row in rows} == {"no"}, "localisers, projections and single slices"


@pytest.mark.parametrize(("name", "syntax"), [("RLE", RLE), ("jpeg_ls_lossless", JPEG_LS), ("jp2klossless", JPEG_2000)])
def test_what_others_compressed_is_read(name, syntax):
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    (header,) = read_object(folder / f"MR_small_{name}.dcm")
    assert (header.pixels.layout.syntax, header.rows, header.lossy) == (syntax, 64, False)


def test_a_folder_of_too_many_files_an_empty_one_and_none_are_refused(hospital, monkeypatch):
    assert "is empty" in hospital.run()[2]
    hospital.series(1, T1)
    monkeypatch.setattr("client.dicom.survey.MOST_FILES", 5)
    assert "more than 5 files" in hospital.run()[2]
    hospital.dicom = hospital.folder / "nowhere"
    assert hospital.run()[0] == 3
