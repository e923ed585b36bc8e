"""Which texts of a header name a person or a day, and which are an engineer's."""

from __future__ import annotations

import pytest

from client.data.checks.finding import Severity
from client.data.checks.personal import judge


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("20190327", "20190327"),
        ("2019/03/27 run 2", "2019/03/27"),
        ("exam 27.03.2019", "27.03.2019"),
        ("3T 3D GR TR=2300ms/TE=2.98ms/FA=9deg 13-Aug-2012 12:34:56 Mosaic", "13-Aug-2012"),
        ("Wed Mar 27 10:01:02 CET 2019", "Mar 27 10:01:02 CET 2019"),
        ("DOE^JANE", "DOE^JANE"),
        ("PatientName=Doe", "PatientName=Doe"),
        ("Name: Doe", "Name: Doe"),
        ("seen by Dr. House", "Dr. House"),
    ],
)
def test_dates_and_certain_names_are_errors(text: str, word: str) -> None:
    severity, _, found = judge(text)
    assert (severity, found) == (Severity.ERROR, word)


@pytest.mark.parametrize("text", ["Jane Doe", "Doe, Jane", "TE=17;Time=232636.435", "acquired 10:01:02"])
def test_possible_names_and_times_of_day_are_warnings(text: str) -> None:
    assert judge(text)[0] is Severity.WARNING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TE=91;phase=1",
        "FSL5.0",
        "6.0.4:ddd0188b",
        "FreeSurfer Jan 19 2017",
        "spm - 3D normalized",
        "SPM compatible",
        "Brain Mask",
        "Philips Medical Systems",
        "GE T1 SPGR 1.0x1.0x1.2 TR=250.5",
        "PHANTOM gliofed 20240101",
        "PatientName=Anonymous",
        "1.2.840.113619.2.20190327.5",
    ],
)
def test_technical_texts_pass(text: str) -> None:
    assert judge(text)[0] is None
