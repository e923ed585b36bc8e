"""Descriptions as hospitals write them, in their languages."""

import pytest

from client.dicom.words import read_words
from common.sequences import Sequence

T1, T2, FLAIR, ADC, DWI = Sequence.T1, Sequence.T2, Sequence.FLAIR, Sequence.ADC, Sequence.DWI


@pytest.mark.parametrize(
    ("said", "kinds", "agent"),
    [
        ("t1_mprage_sag_p2_iso_KM", {T1}, (True, False)),
        ("T1w tra nach KM-Gabe", {T1}, (True, False)),
        ("T1 MPR ohne Kontrastmittel", {T1}, (False, True)),
        ("T1 präKM", {T1}, (False, True)),
        ("T1 SE TRA vor KM", {T1}, (False, True)),
        ("AX T1 W/O", {T1}, (False, False)),
        ("AX T1 W/O CONTRAST", {T1}, (False, True)),
        ("AX T1 POST GAD", {T1}, (True, False)),
        ("AX T1 +C", {T1}, (True, False)),
        ("T1W_C+", {T1}, (True, False)),
        ("SAG T1 POST-OP", {T1}, (False, False)),
        ("T1 EG sans injection", {T1}, (False, True)),
        ("T1 3D GADO", {T1}, (True, False)),
        ("T1 EG après injection de gadolinium", {T1}, (True, False)),
        ("T1 senza mdc", {T1}, (False, True)),
        ("T1 TSE dopo mdc", {T1}, (True, False)),
        ("T1 SE con contraste", {T1}, (True, False)),
        ("T1 SE sin contraste", {T1}, (False, True)),
        ("T1 zonder contrast", {T1}, (False, True)),
        ("T1 po kontraście", {T1}, (True, False)),
        ("T1 uten kontrast", {T1}, (False, True)),
        ("T1 nativ + KM", {T1}, (True, True)),
        ("T1 -KM", {T1}, (True, True)),
        ("T1-C", {T1}, (True, True)),
        ("T1 ohne FS", {T1}, (False, False)),
        ("t1_fl2d_tra", {T1}, (False, False)),
        ("t2_tse_tra_512", {T2}, (False, False)),
        ("T2w FLAIR", {FLAIR}, (False, False)),
        ("t2_tirm_tra_dark-fluid", {FLAIR}, (False, False)),
        ("AX T1 FLAIR", {T1}, (False, False)),
        ("ep2d_diff_3scan_trace_p2_ADC", {ADC}, (False, False)),
        ("DWI b1000", {DWI}, (False, False)),
        ("T1 Map", {Sequence.T1MAP}, (False, False)),
        ("Müller Schädel", set(), (False, False)),
    ],
)
def test_a_description_is_heard_in_its_language(said, kinds, agent):
    spoken = read_words(said)
    assert spoken.kinds == kinds
    assert (spoken.with_agent, spoken.without_agent) == agent


def test_two_descriptions_of_one_series_are_heard_together():
    spoken = read_words("T1 tra KM", "Kopf nativ")
    assert (spoken.with_agent, spoken.without_agent) == (True, True)
