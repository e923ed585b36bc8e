"""Voxels lie after the import where the phantom put them, and nothing of the patient's identity came along."""

import fcntl
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from client.data.catalog import scan_folder
from client.dicom.objects import read_object
from client.dicom.sidecar import sidecar
from client.imaging.nifti import read_volume
from client.imaging.orientation import to_canonical
from common.sequences import Sequence
from tests.dicom.conftest import FLAIR, NATIVE, T1, T1GD, T2

SECRETS = {
    "PatientID": "PID-QX4711",
    "IssuerOfPatientID": "KLINIKUM-QZ",
    "PatientName": "Mustermann^Zacharias",
    "PatientBirthDate": "19510317",
    "StudyDate": "20190823",
    "SeriesDate": "20190823",
    "StudyTime": "134507",
    "AccessionNumber": "ACCQ998877",
    "ReferringPhysicianName": "Doktorova^Ludmila",
    "OperatorsName": "Assistentova^Olga",
    "InstitutionName": "Krankenhaus Musterstadt",
    "StationName": "MRSTATIONQ",
    "StudyDescription": "Schaedel Mustermann Zacharias",
    "ProtocolName": "t1_se_tra Zacharias",
    "ImageComments": "Telefon 0301234567",
    "PatientAddress": "Lindenallee 17",
    "DeviceSerialNumber": "SN5550123",
    "StudyID": "STUDYQ77",
}


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_a_conversion_gives_the_phantoms_voxels_at_their_places_also_when_oblique(hospital, drawn, plane):
    hospital.series(1, {**T1, **NATIVE}, plane=plane)
    assert hospital.run()[0] == 0
    assert hospital.accept()[0] == 0
    (path,) = hospital.out.glob("sub-*/ses-*/anat/*_T1w.nii.gz")
    volume = read_volume(path)
    data, affine = to_canonical(drawn.volumes[Sequence.T1], drawn.affine)
    assert abs(affine[1, 2]) > 0.5, "the phantom is tilted"
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)
    np.testing.assert_array_equal(volume.data, data)


def test_folders_may_be_given_relative_to_where_one_stands(hospital, monkeypatch):
    hospital.series(1, {**T1, **NATIVE})
    monkeypatch.chdir(hospital.folder)
    hospital.dicom, hospital.out, hospital.toml = (Path(name) for name in ("dicom", "scans", "site.toml"))
    assert hospital.run()[0] == 0
    assert hospital.accept()[0] == 0


def test_a_map_keeps_its_physical_values(hospital, drawn):
    map_tags = {"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RELCBV"], "SeriesDescription": "relCBV"}
    hospital.series(1, map_tags, Sequence.CBV)
    assert hospital.rows()["1"]["take"] == "CBV"
    assert hospital.accept()[0] == 0
    (path,) = hospital.out.glob("sub-*/ses-*/anat/*_CBV.nii.gz")
    expected, _ = to_canonical(drawn.volumes[Sequence.CBV] * 0.01, drawn.affine)
    np.testing.assert_allclose(read_volume(path).data, expected, atol=1e-4)


def test_the_catalog_reads_what_was_imported(hospital):
    for number, (tags, sequence) in enumerate(
        [({**T1, **NATIVE}, Sequence.T1), (T2, Sequence.T2), (FLAIR, Sequence.FLAIR), (T1GD, Sequence.T1GD)], start=1
    ):
        hospital.series(number, tags, sequence)
    hospital.run()
    assert hospital.accept()[0] == 0
    catalog = scan_folder(hospital.out)
    (case,) = catalog.cases
    assert (catalog.layout, list(case.images)) == ("bids", ["T1", "T1Gd", "T2", "FLAIR"])
    assert case.patient.startswith("sub-")


def test_no_identifier_of_the_input_is_in_any_byte_of_the_output(hospital):
    hospital.series(1, {**T1, **SECRETS, "SeriesDescription": "t1 nativ Zacharias"}, place="Mustermann_Zacharias/1951")
    hospital.series(2, {**T2, **SECRETS}, Sequence.T2, place="Mustermann_Zacharias/1951")
    hospital.run()
    hospital.decide(n1="T1", n2="T2")
    assert hospital.accept()[0] == 0
    bytes_of_names = [value.encode() for value in SECRETS.values()]
    bytes_of_names += [b"Mustermann", b"Zacharias", b"1.2.826", b"54321", b"2019", b"13:45", b"dcm2niix"]
    files = [path for path in hospital.out.rglob("*") if path.is_file()]
    assert len(files) == 2 * 2 + 3  # images, sidecars; record, participants.tsv, import.csv
    for path in files:
        blob = path.read_bytes()
        blob += gzip.decompress(blob) if path.suffix == ".gz" else b""
        found = [name for name in bytes_of_names if name.lower() in (blob + str(path.name).encode()).lower()]
        assert not found, f"{path.name} holds {found}"


def test_the_header_is_fresh_and_the_sidecar_holds_the_allowed_facts_alone(hospital):
    maker = {"Manufacturer": "SIEMENS Mustermann", "ManufacturerModelName": "Skyra"}
    hospital.series(1, {**T1, **NATIVE, **maker}, FlipAngle=90)
    hospital.run()
    hospital.accept()
    (image,) = hospital.out.glob("sub-*/ses-*/anat/*.nii.gz")
    header = nib.load(image).header
    assert {bytes(header[key].tobytes()).strip(b"\0") for key in ("descrip", "aux_file", "db_name", "intent_name")} == {
        b""
    }
    (side,) = hospital.out.glob("sub-*/ses-*/anat/*.json")
    assert set(json.loads(side.read_text())) == {
        *("RepetitionTime", "EchoTime", "FlipAngle", "MagneticFieldStrength", "SliceThickness")
    }
    assert json.loads(side.read_text())["RepetitionTime"] == 0.5


@pytest.mark.parametrize(
    ("field", "key", "largest", "kept"),
    [
        ("tr_ms", "RepetitionTime", 60_000, 60),
        ("te_ms", "EchoTime", 60_000, 60),
        ("ti_ms", "InversionTime", 60_000, 60),
        ("flip_deg", "FlipAngle", 360, 360),
        ("field_tesla", "MagneticFieldStrength", 25, 25),
        ("thickness_mm", "SliceThickness", 50, 50),
    ],
)
def test_a_number_that_no_scanner_can_mean_is_not_kept(hospital, field, key, largest, kept):
    (header,) = read_object(hospital.series(1, T1)[0])
    for value, expected in ((largest, kept), (0.0, 0.0), (largest * 1.001, None), (-1.0, None), (19500101.0, None)):
        facts = json.loads(sidecar(replace(header, **{field: value}), keep_scanner=False))
        assert facts.get(key) == expected


def test_manufacturer_and_model_are_kept_where_the_site_allows_it_and_by_our_own_words(hospital):
    hospital.toml.write_text(hospital.toml.read_text() + "[policy]\nkeep_scanner = true\n")
    hospital.series(1, {**T1, **NATIVE}, Manufacturer="SIEMENS Mustermann", ManufacturerModelName="Skyra")
    hospital.run()
    hospital.accept()
    (side,) = hospital.out.glob("sub-*/ses-*/anat/*.json")
    facts = json.loads(side.read_text())
    assert (facts["Manufacturer"], facts["ManufacturersModelName"]) == ("Siemens", "Skyra")


def test_the_patient_key_is_its_owners_and_another_key_gives_other_names(hospital):
    hospital.series(1, {**T1, **NATIVE})
    first = hospital.rows()["1"]
    key = hospital.folder / "keys" / "patient.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert hospital.rows()["1"] == first
    key.unlink()
    assert hospital.rows()["1"]["patient"] != first["patient"]
    key.chmod(0o644)
    code, _, error = hospital.run()
    assert (code, "chmod 600" in error) == (2, True)


def test_a_second_run_skips_what_stands_and_an_interrupted_one_leaves_no_half(hospital, monkeypatch):
    hospital.series(1, {**T1, **NATIVE}, study=1)
    hospital.series(2, T2, Sequence.T2, study=2)
    hospital.run()
    import client.dicom.importing as importing

    real, calls = importing.convert, []

    def once(series, workplace):
        calls.append(series)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(series, workplace)

    monkeypatch.setattr(importing, "convert", once)
    assert hospital.accept()[0] == 130
    assert len(list(hospital.out.glob("sub-*/ses-*"))) == 1
    monkeypatch.setattr(importing, "convert", real)
    stamps = {path: path.stat().st_mtime_ns for path in hospital.out.glob("sub-*/ses-*/anat/*.nii.gz")}
    code, shown, _ = hospital.run("--accept", hospital.table, "--json")
    done = json.loads(shown)
    assert (code, len(done["written"]), len(done["standing"])) == (0, 1, 1)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert not (hospital.out / ".import").exists()


def test_a_session_that_stands_of_other_series_is_not_written_over(hospital):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    hospital.accept()
    hospital.series(2, T2, Sequence.T2)
    hospital.run()
    code, shown, _ = hospital.accept()
    assert code == 3
    assert "remove its folder" in shown
    assert not list(hospital.out.glob("sub-*/ses-*/anat/*T2w*"))


def test_a_killed_import_leaves_nothing_for_the_next_one_to_trip_over(hospital):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    left = hospital.out / ".import" / "ses-0" / "anat"
    left.mkdir(parents=True)
    (left / "half.nii.gz").write_bytes(b"half")
    assert hospital.accept()[0] == 0
    assert not (hospital.out / ".import").exists()


def test_two_imports_into_one_folder_do_not_run_at_a_time(hospital):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    descriptor = os.open(hospital.out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        code, _, error = hospital.accept()
    finally:
        os.close(descriptor)
    assert (code, "another import writes there" in error) == (3, True)


def test_a_lost_patient_key_is_not_replaced_while_a_table_waits(hospital):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    key = hospital.folder / "keys" / "patient.key"
    key.rename(hospital.folder / "patient.key")
    code, _, error = hospital.accept()
    assert (code, "restore it from the backup" in error, key.exists()) == (2, True, False)


def test_participants_keep_the_columns_that_a_person_added(hospital):
    hospital.series(1, {**T1, **NATIVE}, study=1)
    hospital.run()
    hospital.accept()
    table = hospital.out / "participants.tsv"
    name = table.read_text().splitlines()[1].split("\t")[0]
    table.write_text(f"participant_id\tpatient_id\tgrade\n{name}\t{name}\t4\n")
    hospital.series(2, {**T1, **NATIVE}, patient="4712", study=2)
    hospital.run()
    assert hospital.accept()[0] == 0
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    assert lines[1] == [name, name, "4"]
    assert lines[2][2] == "n/a"


def test_a_converter_that_places_a_volume_elsewhere_is_not_believed(hospital, drawn, monkeypatch):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    moved = drawn.affine.copy()
    moved[0, 3] += 1
    nib.save(nib.Nifti1Image(drawn.volumes[Sequence.T1], moved), hospital.folder / "moved.nii")
    script = hospital.folder / "converter"
    script.write_text(
        f'#!/bin/sh\nwhile [ "$1" != "-o" ]; do shift; done\ncp {hospital.folder}/moved.nii "$2/image.nii"\n'
    )
    script.chmod(0o700)
    monkeypatch.setattr("client.dicom.convert._program", lambda: script)
    code, shown, _ = hospital.accept()
    assert (code, "placed it otherwise" in shown) == (3, True)


def test_a_converter_that_fails_or_makes_two_files_refuses_the_session_by_name(hospital, monkeypatch):
    hospital.series(1, {**T1, **NATIVE})
    hospital.run()
    script = hospital.folder / "converter"
    import client.dicom.convert as module

    monkeypatch.setattr(module, "_program", lambda: script)
    for body, said in (
        ("exit 2", "status 2"),
        ('while [ "$1" != "-o" ]; do shift; done; touch "$2/image.nii" "$2/image_e2.nii"', "2 volumes"),
        ('while [ "$1" != "-o" ]; do shift; done; touch "$2/image.nii"', "cannot be read"),
    ):
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o700)
        code, shown, _ = hospital.accept()
        assert code == 3
        assert said in shown
        assert not list(hospital.out.glob("sub-*"))
