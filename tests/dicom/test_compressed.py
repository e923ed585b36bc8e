"""Compressed as archives export it: the same voxels, or a reason; loss is never taken without a person's word."""

import io
import json
from functools import cache
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.dicom.codestream import READABLE, read_codestream
from client.dicom.convert import convert
from client.dicom.objects import read_object
from client.dicom.reason import Reason
from client.dicom.series import group
from client.dicom.survey import survey
from client.imaging.nifti import read_volume
from client.imaging.orientation import to_canonical
from common.sequences import Sequence
from simulations.phantom.dicom import DicomSeries, slice_of
from tests.dicom.codecs import (
    JPEG,
    JPEG_2000,
    JPEG_2000_ANY,
    JPEG_FIRST,
    JPEG_LS,
    JPEG_LS_NEAR,
    LOSSLESS,
    RLE,
    by_gdcm,
    compress,
    encode,
)
from tests.dicom.conftest import NATIVE, T1
from tests.dicom.test_foreign_bytes import quick


def recompress(paths, syntax, **how):
    """Compress written objects in place."""
    from pydicom import dcmread

    for path in paths:
        dataset = dcmread(path)
        compress(dataset, syntax, **how)
        dataset.save_as(path)


def noisy(low, high, kind):
    """Return a volume of steps and noise from `low` to `high`."""
    ramp = np.linspace(low, high, 11 * 9 * 12).reshape(11, 9, 12)
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, ramp.shape) * (high - low)
    return np.clip(ramp + noise, low, high).astype(kind)


def imported(folder, volume, syntax, bits=16, **how):
    """Write a volume as compressed DICOM and return what the import makes of it, RAS+."""
    signed = volume.dtype.kind == "i"
    layout = {"BitsAllocated": 8 * volume.itemsize, "BitsStored": bits, "HighBit": bits - 1}
    layout |= {"LossyImageCompression": "00"}
    facts = DicomSeries("4711", 1, 1, tags={**T1, **layout, "PixelRepresentation": int(signed)})
    source = folder / "dicom"
    source.mkdir()
    for index in range(volume.shape[2]):
        dataset = slice_of(volume, np.diag([-1.0, -1.0, 2.0, 1.0]), index, facts)
        dataset.PixelData = np.ascontiguousarray(volume[:, :, index].T).tobytes()
        compress(dataset, syntax, **how)
        dataset.save_as(source / f"{index}.dcm", enforce_file_format=True)
    (series,) = group(survey(source).headers)
    assert not series.lossy
    data, affine = convert(series, folder)
    return to_canonical(data, affine)[0]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(
    ("low", "high", "kind", "bits"),
    [(-2048, 2047, "i2", 12), (0, 65535, "u2", 16), (0, 255, "u1", 8)],
)
def test_every_lossless_compression_gives_back_every_voxel(tmp_path, syntax, low, high, kind, bits):
    volume = noisy(low, high, kind)
    expected, _ = to_canonical(volume, np.diag([1.0, 1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(imported(tmp_path, volume, syntax, bits), expected)


@pytest.mark.parametrize("selection", [2, 4, 7])
def test_predictors_of_jpeg_lossless_give_back_every_voxel(tmp_path, selection):
    volume = noisy(-2048, 2047, "i2")
    np.testing.assert_array_equal(imported(tmp_path, volume, JPEG, 12, selection=selection), volume)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_an_image_in_several_fragments_is_put_together(tmp_path, syntax):
    volume = noisy(0, 4095, "u2")
    np.testing.assert_array_equal(imported(tmp_path, volume, syntax, 12, fragments=3), volume)


def test_a_series_of_which_some_images_are_in_fragments_is_one_volume(hospital):
    files = hospital.series(1, {**T1, **NATIVE})
    recompress(files[:4], JPEG_LS, fragments=2)
    recompress(files[4:], JPEG_LS)
    hospital.run()
    assert hospital.accept()[0] == 0
    assert len(list(hospital.out.glob("sub-*/ses-*/anat/*_T1w.nii.gz"))) == 1


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_what_gdcm_compressed_is_imported_voxel_by_voxel_at_its_place(hospital, drawn, compressor):
    from pydicom import dcmread
    from pydicom.encaps import encapsulate

    for path in hospital.series(1, {**T1, **NATIVE}):
        dataset = dcmread(path)
        syntax, stream = by_gdcm(dataset.pixel_array, compressor, hospital.folder)
        assert syntax in LOSSLESS
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    assert hospital.run()[0] == 0
    assert hospital.accept()[0] == 0
    (path,) = hospital.out.glob("sub-*/ses-*/anat/*_T1w.nii.gz")
    volume = read_volume(path)
    data, affine = to_canonical(drawn.volumes[Sequence.T1], drawn.affine)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)
    np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize(("syntax", "how"), [(JPEG_2000_ANY, {"error": 4}), (JPEG_LS_NEAR, {"error": 3}), (RLE, {})])
def test_what_was_compressed_with_loss_waits_for_a_person_and_is_marked(hospital, syntax, how):
    files = hospital.series(1, {**T1, **NATIVE, **({} if how else {"LossyImageCompression": "01"})})
    recompress(files, syntax, **how)
    row = hospital.rows()["1"]
    assert (row["recognised"], row["take"], "compressed with loss" in row["remarks"]) == ("T1", "?", True)
    hospital.decide(n1="T1")
    assert hospital.accept()[0] == 0
    (side,) = hospital.out.glob("sub-*/ses-*/anat/*.json")
    assert json.loads(side.read_text())["LossyImageCompression"] == "01"


@pytest.mark.parametrize(
    ("syntax", "said", "lossy"),
    [(JPEG_2000_ANY, "", True), (JPEG_2000_ANY, "01", True), (JPEG_2000_ANY, "00", False), (JPEG_2000, "", False)],
)
def test_reversible_jpeg_2000_that_may_be_cut_to_a_size_is_trusted_by_the_archives_word_alone(
    hospital, syntax, said, lossy
):
    files = hospital.series(1, {**T1, **NATIVE, "LossyImageCompression": said})
    recompress(files, syntax)
    row = hospital.rows()["1"]
    assert (row["take"], "compressed with loss" in row["remarks"]) == (("?", True) if lossy else ("T1", False))


def test_reversible_jpeg_2000_cut_to_a_size_differs_although_its_head_says_lossless(hospital):
    from PIL import Image

    image = noisy(0, 4095, "u2")[:, :, 0]
    stream = encode(image, JPEG_2000_ANY, 12, cut=20)
    said = read_codestream(JPEG_2000_ANY, stream[:8192], stream[-16:], *image.shape)
    assert said is not None
    assert said.lossless
    assert (np.asarray(Image.open(io.BytesIO(stream))) != image).any()
    files = hospital.series(1, T1)
    recompress(files, JPEG_2000_ANY, cut=20)
    (header,) = read_object(files[0])
    assert header.lossy


def test_the_remark_of_loss_stands_also_beside_a_series_that_nothing_names(hospital):
    hospital.series(1, {"SeriesDescription": "", "LossyImageCompression": "01"})
    row = hospital.rows()["1"]
    assert (row["take"], "compressed with loss" in row["remarks"]) == ("no", True)


def altered(path, stream=None, syntax=JPEG_FIRST, **tags):
    """Return what an object of the phantom is read as once its stream and elements are others."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate

    dataset = dcmread(path)
    compress(dataset, syntax)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    if stream is not None:
        dataset.PixelData = encapsulate([stream])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return read_object(path)


def test_streams_that_cannot_be_what_the_header_says_are_refused(hospital):
    path = hospital.series(1, T1)[0]
    clean = path.read_bytes()
    small = 500 * np.arange(80, dtype="u2").reshape(8, 10)

    def read(stream, **more):
        path.write_bytes(clean)
        return altered(path, stream, **more)

    assert read(None) is not Reason.BAD_PIXELS
    for syntax in LOSSLESS:
        assert read(encode(small, RLE, 16)[:70], syntax=syntax) is Reason.BAD_PIXELS, "cut, or of another kind"
    assert read(encode(small, RLE, 16), syntax=RLE) is Reason.BAD_PIXELS, "fewer values than pixels"
    for syntax in set(LOSSLESS) - {RLE}:
        stream = encode(small, syntax, 16)
        assert read(stream, syntax=syntax) is Reason.BAD_PIXELS, "another size"
        assert read(stream, syntax=syntax, Rows=8, Columns=10) is not Reason.BAD_PIXELS
        assert read(stream[:-8] + b"\0\0", syntax=syntax, Rows=8, Columns=10) is Reason.BAD_PIXELS, "without an end"
    eight = encode((small // 256).astype("u1"), JPEG_LS, 8)
    assert read(eight, syntax=JPEG_LS, Rows=8, Columns=10) is Reason.BAD_PIXELS, "another depth"
    wide = encode(small, JPEG, 16, selection=6)
    assert read(wide, syntax=JPEG, Rows=8, Columns=10) is Reason.COMPRESSED, "dcm2niix decodes it wrongly"


def test_an_rle_image_longer_than_any_coder_makes_it_is_refused_unread(hospital, monkeypatch):
    path = hospital.series(1, T1)[0]
    clean = path.read_bytes()
    segments = [b"".join(b"\0" + bytes([value]) for value in range(80))] * 2
    worst = pack("<16L", 2, 64, 64 + 160, *[0] * 13) + b"".join(segments)
    assert isinstance(altered(path, worst, RLE, Rows=8, Columns=10), tuple), "each value a run of its own"
    path.write_bytes(clean)
    monkeypatch.setattr("client.dicom.pixels.read_codestream", lambda *_: pytest.fail("it was read"))
    assert altered(path, worst + bytes(2000), RLE, Rows=8, Columns=10) is Reason.BAD_PIXELS


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"])
def test_jpeg_with_loss_is_refused_by_name(hospital, syntax):
    path = hospital.series(1, T1)[0]
    raw = path.read_bytes()
    place = raw.index(b"1.2.840.10008.1.2.1\0")
    length = len(syntax).to_bytes(2, "little")
    group_length = raw.index(b"\2\0\0\0UL\4\0") + 8
    total = int.from_bytes(raw[group_length : group_length + 4], "little") + 2
    raw = raw[:group_length] + total.to_bytes(4, "little") + raw[group_length + 4 : place - 2] + length
    path.write_bytes(raw + syntax.encode() + path.read_bytes()[place + 20 :])
    assert read_object(path) is Reason.LOSSY


def test_a_size_that_no_head_has_is_refused_before_anything_is_decoded(hospital, monkeypatch):
    path = hospital.series(1, T1)[0]
    assert altered(path, Rows=4097) is Reason.NO_GEOMETRY
    monkeypatch.setattr("client.dicom.objects.MOST_VOXELS", 100)
    assert read_object(hospital.series(1, T1)[0]) is Reason.TOO_LARGE


def test_a_series_of_more_voxels_than_a_head_has_is_refused(hospital, monkeypatch):
    hospital.series(1, {**T1, **NATIVE})
    monkeypatch.setattr("client.dicom.geometry.MOST_VOXELS", 16 * 18 * 11)
    row = hospital.rows()["1"]
    assert (row["take"], row["remarks"]) == ("no", "has more voxels than a scan of a head")


@cache
def one_object(syntax):
    """The bytes of one good slice."""
    dataset = slice_of(noisy(0, 4095, "i2"), np.eye(4), 0, DicomSeries("4711", 1, 1, tags=T1))
    compress(dataset, syntax)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


@settings(quick, max_examples=150)
@given(
    syntax=st.sampled_from(READABLE),
    blob=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda rest: b"\xff\x4f\xff\x51" + rest),
        st.binary(max_size=100).map(lambda rest: b"\xff\xd8\xff\xc3" + rest),
    ),
)
def test_any_stream_is_read_or_refused(syntax, blob):
    found = read_codestream(syntax, blob, b"\xff\xd9", 4, 5)
    assert found is None or found.rows >= 0


@settings(quick, max_examples=80)
@given(
    syntax=st.sampled_from(LOSSLESS),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(1, 60),
)
def test_a_compressed_object_with_flipped_or_missing_bytes_is_headers_or_a_reason(tmp_path, syntax, edits, cut):
    path, blob = tmp_path / "object.dcm", bytearray(one_object(syntax))
    path.write_bytes(blob[:-cut])
    assert isinstance(read_object(path), Reason)
    for where, value in edits:
        blob[-1 - where % (len(blob) - 132)] = value
    path.write_bytes(blob)
    assert isinstance(read_object(path), tuple | Reason)
