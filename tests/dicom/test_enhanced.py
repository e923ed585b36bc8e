"""Enhanced MR: a series in one object becomes the same voxels at their places; several volumes are told apart."""

import gzip
import io
import json
import subprocess
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.dicom import classic
from client.dicom.convert import OPTIONS, _program
from client.dicom.geometry import place
from client.dicom.header import Header
from client.dicom.objects import read_object
from client.dicom.reason import Reason
from client.dicom.recognise import recognise
from client.dicom.series import group
from client.imaging.nifti import read_volume
from client.imaging.orientation import to_canonical
from common.sequences import Sequence
from tests.dicom.codecs import LOSSLESS, compress
from tests.dicom.conftest import NATIVE
from tests.dicom.enhanced import FLAIR, T1, T2, Volume, agents, enhanced
from tests.dicom.test_foreign_bytes import quick

SHUFFLED = list(np.random.default_rng(3).permutation(12))


@pytest.fixture
def scanner(hospital):
    """The hospital, whose scanner writes one object a series."""
    return Scanner(hospital)


class Scanner:
    """Writes enhanced objects of the drawn patient."""

    def __init__(self, hospital):
        self.hospital, self.drawn = hospital, hospital.drawn

    def volume(self, sequence=Sequence.T1, plane="axial", move_mm=0.0, **facts):
        affine = self.drawn.affine.copy()
        affine[2, 3] += move_mm
        return Volume(self.drawn.volumes[sequence], affine, {**T1, **facts}, plane)

    def write(self, *volumes, syntax=None, number=1, **how):
        dataset = enhanced(volumes or [self.volume()], number=number, **how)
        if syntax is not None:
            compress(dataset, syntax)
        path = self.hospital.dicom / f"XX{number:03}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    def imported(self, name="T1w"):
        assert self.hospital.accept()[0] == 0
        (path,) = self.hospital.out.glob(f"sub-*/ses-*/anat/*_{name}.nii.gz")
        return read_volume(path)


def assert_same(volume, drawn, sequence=Sequence.T1, scale=1.0):
    data, affine = to_canonical(drawn.volumes[sequence] * scale, drawn.affine)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)
    np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize(
    ("plane", "order", "each"),
    [
        ("axial", SHUFFLED, ("PixelSpacing", "ImageOrientationPatient", "EffectiveEchoTime")),
        ("sagittal", None, ()),
        ("coronal", None, ("RepetitionTime",)),
    ],
)
def test_one_object_gives_the_phantoms_voxels_at_their_places_in_any_order_of_frames(scanner, plane, order, each):
    scanner.write(scanner.volume(plane=plane), order=order, each=each)
    row = scanner.hospital.rows()["1"]
    assert (row["take"], row["confidence"], row["plane"], row["remarks"]) == ("T1", "high", plane, "")
    assert_same(scanner.imported(), scanner.drawn)


@pytest.mark.parametrize("syntax", [LOSSLESS[0], LOSSLESS[2], LOSSLESS[5]])
def test_a_compressed_object_gives_the_same_voxels(scanner, syntax):
    scanner.write(scanner.volume(), syntax=syntax, order=SHUFFLED)
    assert scanner.hospital.rows()["1"]["take"] == "T1"
    assert_same(scanner.imported(), scanner.drawn)


def test_frames_in_several_fragments_are_refused_as_a_coding_not_as_damage(scanner, tmp_path):
    dataset = enhanced([scanner.volume()])
    compress(dataset, LOSSLESS[3], fragments=2)
    dataset.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    assert read_object(tmp_path / "object.dcm") is Reason.COMPRESSED


def test_fewer_fragments_than_frames_are_damage(scanner, tmp_path):
    dataset = enhanced([scanner.volume()])
    compress(dataset, LOSSLESS[3])
    dataset.NumberOfFrames = 13
    dataset.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    assert read_object(tmp_path / "object.dcm") is Reason.BROKEN


def test_dcm2niix_reads_the_object_itself_as_the_same_volume(scanner, tmp_path):
    path = scanner.write(scanner.volume(), Manufacturer="SIEMENS")
    command = [str(_program()), *OPTIONS, "-o", str(tmp_path), str(path.parent)]
    subprocess.run(command, check=True, capture_output=True)
    volume = read_volume(tmp_path / "image.nii")
    data, affine = to_canonical(volume.data, volume.affine)
    drawn, its_affine = to_canonical(scanner.drawn.volumes[Sequence.T1], scanner.drawn.affine)
    np.testing.assert_array_equal(data, drawn)
    np.testing.assert_allclose(affine, its_affine, atol=1e-2)


def test_each_frame_keeps_its_own_scale(scanner):
    frames = list(scanner.volume(Sequence.CBV).frames())
    halves = [
        Volume(scanner.drawn.volumes[Sequence.CBV], scanner.drawn.affine, {**T1, "RescaleSlope": s}) for s in "12"
    ]
    order = [*range(6), *range(len(frames) + 6, 2 * len(frames))]
    path = scanner.write(*halves, order=order)
    headers = read_object(path)
    assert [header.slope for header in headers] == [1.0] * 6 + [2.0] * 6
    scanner.hospital.run()
    data, _ = to_canonical(scanner.drawn.volumes[Sequence.CBV], scanner.drawn.affine)
    data = data.astype(float)
    data[..., 6:] *= 2
    np.testing.assert_array_equal(scanner.imported().data, data)


@pytest.mark.parametrize(
    ("facts", "tags", "take", "remark"),
    [
        (T1, {}, "T1", ""),
        (T1, {"SeriesDescription": "t1 KM", "ContrastBolusAgentSequence": agents("Gadobutrol")}, "T1Gd", ""),
        (
            {**T1, "ContrastBolusAgentNumber": 1, "ContrastBolusAgentAdministered": "YES"},
            {"SeriesDescription": "t1_se", "ContrastBolusAgentSequence": agents("Agent X")},
            *("T1Gd", ""),
        ),
        (
            {**T1, "ContrastBolusAgentNumber": 1, "ContrastBolusAgentAdministered": "NO"},
            {"SeriesDescription": "t1_se", "ContrastBolusAgentSequence": agents("Gadobutrol")},
            *("T1", ""),
        ),
        (T1, {"SeriesDescription": "t1_se", "ContrastBolusAgentSequence": agents("Agent X")}, "?", "nothing says"),
        (
            *(T1, {"SeriesDescription": "t1", "ContrastBolusAgentSequence": agents("X", ContrastBolusVolume="7.5")}),
            *("T1Gd", ""),
        ),
        (T1, {"ContrastBolusAgentSequence": agents("Gadobutrol")}, "?", "the description that it was not"),
        (T2, {"SeriesDescription": "t2_tse"}, "T2", ""),
        (FLAIR, {"SeriesDescription": "dark fluid"}, "FLAIR", ""),
        (T2, {"SeriesDescription": "t1_se nativ"}, "?", "the tags say T2"),
        ({**T1, "FrameType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, {"SeriesDescription": "adc"}, "ADC", ""),
        ({**T1, "ComplexImageComponent": "PHASE"}, {}, "no", "a phase image"),
        ({**T1, "FrameType": ["DERIVED", "SECONDARY", "MAX_IP", "NONE"]}, {}, "no", "a projection"),
        (
            {**T2, "DiffusionBValue": 1000.0},
            *({"SeriesDescription": "dwi", "EchoPlanarPulseSequence": "YES"}, "DWI", ""),
        ),
        ({**T2, "EffectiveEchoTime": 25.0}, {"SeriesDescription": "", "EchoPulseSequence": "GRADIENT"}, "no", "T2*"),
    ],
)
def test_the_functional_groups_say_what_a_series_is(scanner, facts, tags, take, remark):
    volume = Volume(scanner.drawn.volumes[Sequence.T1], scanner.drawn.affine, facts)
    scanner.write(volume, each=facts, **tags)
    row = scanner.hospital.rows()["1"]
    assert (row["take"], remark in row["remarks"], bool(remark) or not row["remarks"]) == (take, True, True)


def test_echoes_of_one_object_are_rows_of_their_own_and_each_keeps_its_voxels(scanner):
    late = scanner.volume(Sequence.T2, **T2)
    early = scanner.volume(Sequence.T1, **{**T2, "EffectiveEchoTime": 15.0})
    order = [place + echo * 12 for place in range(12) for echo in (0, 1)]
    scanner.write(early, late, order=order, SeriesDescription="pd_t2_tse")
    rows = list(scanner.hospital.rows().values())
    assert [row["part"] for row in rows] == ["part 1 of 2, TE 15", "part 2 of 2, TE 100"]
    assert [row["files"] for row in rows] == ["12", "12"]
    scanner.hospital.decide()
    takes = dict(zip((row["series"] for row in rows), ("no", "T2"), strict=True))
    lines = ["series,take", *(f"{key},{take}" for key, take in takes.items())]
    scanner.hospital.table.write_text("\n".join(lines) + "\n")
    assert_same(scanner.imported("T2w"), scanner.drawn, Sequence.T2)


def test_stacks_of_one_object_are_rows_of_their_own(scanner):
    scanner.write(scanner.volume(), scanner.volume(move_mm=100.0, StackID="2"))
    rows = scanner.hospital.rows()
    assert [row["part"] for row in rows.values()] == ["part 1 of 2", "part 2 of 2"]
    assert all("one of 2 candidates" in row["remarks"] for row in rows.values())


def test_b_values_of_one_object_are_rows_of_their_own_and_directions_are_refused(scanner):
    tags = {"SeriesDescription": "dwi", "EchoPlanarPulseSequence": "YES"}
    plain, strong = (scanner.volume(**T2, DiffusionBValue=b) for b in (0.0, 1000.0))
    scanner.write(plain, strong, **tags)
    scanner.write(plain, strong, strong, strong, number=2, **tags)
    rows = list(scanner.hospital.rows().values())
    assert [(row["part"], row["take"]) for row in rows[:2]] == [
        ("part 1 of 2, b 0", "?"),
        ("part 2 of 2, b 1000", "DWI"),
    ]
    assert (rows[3]["part"], rows[3]["take"]) == ("part 2 of 2, b 1000", "no")
    assert "several volumes in one series" in rows[3]["remarks"]


def test_time_points_of_one_object_are_told_apart_and_many_are_refused(scanner):
    times = [scanner.volume(TemporalPositionIndex=number) for number in range(1, 8)]
    scanner.write(*times[:2])
    scanner.write(*times, number=2)
    rows = list(scanner.hospital.rows().values())
    assert [row["part"] for row in rows] == ["part 1 of 2", "part 2 of 2", ""]
    assert "several volumes in one series" in rows[2]["remarks"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda dataset: setattr(dataset, "NumberOfFrames", 11), Reason.BROKEN),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 13), Reason.BROKEN),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 5000), Reason.TOO_LARGE),
        (lambda dataset: delattr(dataset, "PerFrameFunctionalGroupsSequence"), Reason.BROKEN),
        (lambda dataset: delattr(dataset, "SharedFunctionalGroupsSequence"), Reason.NO_GEOMETRY),
        (
            lambda dataset: delattr(dataset.PerFrameFunctionalGroupsSequence[5], "PlanePositionSequence"),
            Reason.NO_GEOMETRY,
        ),
        (lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.4.4"), Reason.MULTI_FRAME),
        (lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"), Reason.BURNED_IN),
        (lambda dataset: setattr(dataset, "PatientID", "anonymous"), Reason.NO_PATIENT),
        (lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-2]), Reason.BROKEN),
    ],
)
def test_an_object_that_contradicts_itself_is_refused_by_name(tmp_path, drawn, spoil, reason):
    dataset = enhanced([Volume(drawn.volumes[Sequence.T1], drawn.affine, T1)])
    spoil(dataset)
    dataset.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    assert read_object(tmp_path / "object.dcm") is reason


def test_a_frame_that_is_missing_inside_is_refused(scanner):
    scanner.write(scanner.volume(), order=[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11])
    row = scanner.hospital.rows()["1"]
    assert (row["take"], row["remarks"]) == ("no", "1 missing inside its stack of 11 slices")


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path, drawn, monkeypatch):
    dataset = enhanced([Volume(drawn.volumes[Sequence.T1], drawn.affine, T1)])
    dataset.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    monkeypatch.setattr("client.dicom.objects.MOST_HEADER_BYTES", 1000)
    assert read_object(tmp_path / "object.dcm") is Reason.TOO_LARGE


def test_an_object_that_changed_after_it_was_looked_at_is_not_converted(scanner, monkeypatch):
    path = scanner.write()
    scanner.hospital.run()
    real = classic.write_classic

    def late(header, target, number):
        path.write_bytes(path.read_bytes()[:-500])
        real(header, target, number)

    monkeypatch.setattr("client.dicom.convert.write_classic", late)
    code, shown, _ = scanner.hospital.accept()
    assert (code, "has changed" in shown) == (3, True)


def planted(dataset, secret, depth=0):
    """Put a secret into every text element of a dataset and of its items, and into a private one of each."""
    from pydicom.dataset import Dataset

    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                planted(item, secret, depth + 1)
    private = dataset.private_block(0x0019, "GLIOFED TEST", create=True)
    private.add_new(1, "LO", secret)
    for keyword in ("FrameComments", "ImageComments", "FrameLabel", "DerivationDescription", "ProtocolName"):
        setattr(dataset, keyword, f"{keyword[:9]} {secret}")
    dataset.PatientName = f"{secret}^Zacharias"
    dataset.OperatorsName, dataset.InstitutionName, dataset.StationName = secret, secret, secret
    dataset.FrameReferenceDateTime = dataset.FrameAcquisitionDateTime = "19510317134507"
    dataset.ReferencedSOPInstanceUID = "1.2.826.7777777"
    if depth == 0:
        dataset.PatientID, dataset.IssuerOfPatientID, dataset.AccessionNumber = "PID-QX4711", "KLINIKUM-QZ", "ACCQ998"
        dataset.PatientBirthDate, dataset.SeriesDescription = "19510317", f"t1 nativ {secret}"
        dataset.PulseSequenceName, dataset.BodyPartExamined = secret[:16].upper(), "HEAD"
        other = Dataset()
        other.PatientID = "PID-OTHER5"
        dataset.OtherPatientIDsSequence = [other]


@pytest.mark.parametrize("syntax", [None, LOSSLESS[3]])
def test_no_identifier_planted_in_any_element_is_in_any_byte_of_the_output(scanner, syntax, monkeypatch):
    dataset = enhanced([scanner.volume()], each=("RepetitionTime", "EffectiveEchoTime", "StackID"))
    planted(dataset, "Mustermann")
    if syntax:
        compress(dataset, syntax)
    dataset.save_as(scanner.hospital.dicom / "object.dcm", enforce_file_format=True)
    handed_over = []
    real = classic.write_classic

    def watched(header, target, number):
        real(header, target, number)
        handed_over.append(target.read_bytes())

    monkeypatch.setattr("client.dicom.convert.write_classic", watched)
    scanner.hospital.run()
    scanner.hospital.decide(n1="T1")
    assert scanner.hospital.accept()[0] == 0
    names = [
        b"mustermann",
        b"zacharias",
        b"pid-",
        b"klinikum",
        b"accq",
        b"19510317",
        b"134507",
        b"1.2.826.7",
        b"20240102",
        b"gliofed",
    ]
    blobs = [path.read_bytes() for path in scanner.hospital.out.rglob("*") if path.is_file()]
    blobs += [gzip.decompress(blob) for blob in blobs if blob[:2] == b"\x1f\x8b"]
    assert len(blobs) == 5 + 1
    assert len(handed_over) == 12
    for blob in [*blobs, *handed_over]:
        assert not [name for name in names if name in blob.lower()]
    (side,) = scanner.hospital.out.glob("sub-*/ses-*/anat/*.json")
    assert json.loads(side.read_text()) == {
        **{"RepetitionTime": 0.5, "EchoTime": 0.01, "MagneticFieldStrength": 3.0, "SliceThickness": 4.0}
    }


def test_a_copy_is_counted_once_and_a_change_of_the_object_gives_other_keys(scanner):
    path = scanner.write()
    key = scanner.hospital.rows()["1"]["series"]
    (path.parent / "copy.dcm").write_bytes(path.read_bytes())
    assert scanner.hospital.rows()["1"]["series"] == key
    (path.parent / "copy.dcm").unlink()
    scanner.write(order=range(11))
    assert scanner.hospital.rows()["1"]["series"] != key


@cache
def one_object(syntax):
    """The bytes of one good object of twelve small frames."""
    volume = Volume(np.arange(5 * 4 * 12, dtype="i2").reshape(5, 4, 12) * 100, np.eye(4), T1)
    dataset = enhanced([volume], ContrastBolusAgentSequence=agents("Gadobutrol"), **NATIVE)
    if syntax:
        compress(dataset, syntax)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


SYNTAXES = st.sampled_from([None, LOSSLESS[0], LOSSLESS[1], LOSSLESS[5]])


@settings(quick, max_examples=60)
@given(syntax=SYNTAXES, edits=st.lists(st.tuples(st.integers(132, 9000), st.integers(0, 255)), min_size=1, max_size=9))
def test_an_object_with_flipped_bytes_is_headers_that_all_later_steps_bear_or_a_reason(tmp_path, syntax, edits):
    blob = bytearray(one_object(syntax))
    for where, value in edits:
        blob[132 + where % (len(blob) - 132)] = value
    path = tmp_path / "object.dcm"
    path.write_bytes(blob)
    found = read_object(path)
    if isinstance(found, Reason):
        return
    assert all(isinstance(header, Header) for header in found)
    recognise(found[0])
    place(found)
    group(found)
    for number, header in enumerate(found[:2], start=1):
        classic.write_classic(header, tmp_path / "frame.dcm", number)


@settings(quick, max_examples=60)
@given(syntax=SYNTAXES, length=st.integers(0, 20_000))
def test_an_object_cut_anywhere_is_refused(tmp_path, syntax, length):
    path, blob = tmp_path / "object.dcm", one_object(syntax)
    path.write_bytes(blob[: length % len(blob)])
    assert isinstance(read_object(path), Reason)
