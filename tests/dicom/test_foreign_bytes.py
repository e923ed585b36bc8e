"""Whatever stands in a file, a tag or a table, the answer is a header, a reason or an error of ours."""

import io
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.dicom.geometry import place
from client.dicom.header import KEYWORDS, Header
from client.dicom.objects import read_object
from client.dicom.reason import Reason
from client.dicom.recognise import recognise
from client.dicom.series import group
from client.dicom.sidecar import sidecar
from client.dicom.table import read_decisions
from client.dicom.words import read_words
from common.errors import GliofedError
from simulations.phantom.dicom import DicomSeries, slice_of
from tests.dicom.conftest import AGENT, T1

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def one_object():
    """The bytes of one good slice."""
    data = np.zeros((4, 5, 1), np.int16)
    dataset = slice_of(
        data, np.eye(4), 0, DicomSeries("4711", 1, 1, tags={**T1, **AGENT, "PatientBirthDate": "19500101"})
    )
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def read(folder, blob):
    path = folder / "object.dcm"
    path.write_bytes(blob)
    found = read_object(path)
    return found if isinstance(found, Reason) else found[0]


def test_the_good_object_is_read(tmp_path):
    header = read(tmp_path, one_object())
    assert isinstance(header, Header)
    assert (header.patient_id, header.tr_ms, header.agent, header.rows) == ("4711", 500, "Gadovist", 5)


@quick
@given(blob=st.binary(max_size=600))
def test_any_bytes_after_the_mark_are_a_reason_or_a_header(tmp_path, blob):
    assert isinstance(read(tmp_path, b"\0" * 128 + b"DICM" + blob), Header | Reason)


@quick
@given(edits=st.lists(st.tuples(st.integers(132, 5000), st.integers(0, 255)), min_size=1, max_size=12))
def test_an_object_with_flipped_bytes_is_a_reason_or_a_header_that_all_later_steps_bear(tmp_path, edits):
    blob = bytearray(one_object())
    for where, value in edits:
        blob[132 + where % (len(blob) - 132)] = value
    header = read(tmp_path, bytes(blob))
    if isinstance(header, Header):
        recognise(header)
        place((header,))
        group([header])
        sidecar(header, keep_scanner=True)


@quick
@given(length=st.integers(0, 5000))
def test_an_object_cut_anywhere_is_refused(tmp_path, length):
    blob = one_object()
    assert isinstance(read(tmp_path, blob[: length % len(blob)]), Reason)


@quick
@given(
    keyword=st.sampled_from(KEYWORDS),
    value=st.one_of(st.text(max_size=80), st.lists(st.text(max_size=9), max_size=5), st.floats(), st.integers()),
)
@pytest.mark.filterwarnings("ignore")
def test_any_value_of_a_tag_is_borne(tmp_path, keyword, value):
    from pydicom import config, dcmread

    dataset = dcmread(io.BytesIO(one_object()))
    out = io.BytesIO()
    try:
        config.settings.writing_validation_mode = config.IGNORE
        setattr(dataset, keyword, value)
        dataset.save_as(out, enforce_file_format=True)
    except Exception:  # pydicom itself refuses to write it
        return
    finally:
        config.settings.writing_validation_mode = None
    header = read(tmp_path, out.getvalue())
    if isinstance(header, Header):
        recognise(header)
        group([header])


@quick
@given(text=st.text(max_size=200))
def test_any_description_is_read_into_words_of_ours(text):
    spoken = read_words(text, text)
    assert isinstance(spoken.with_agent, bool)


@quick
@given(blob=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: f"series,take\n{text}".encode())))
def test_any_table_is_decisions_or_an_error_of_ours(tmp_path, blob):
    path = tmp_path / "import.csv"
    path.write_bytes(blob)
    with suppress(GliofedError):
        read_decisions(path)
