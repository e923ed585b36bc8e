"""The contact sheet: orientation of the picture, stamps, and a PNG that is there whole."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from client.inference.contact_sheet import PANEL_INCHES, Panel, Row, radiological, write_sheet


def test_the_nose_points_up_and_the_patients_right_lies_at_the_left():
    plane = np.zeros((3, 4))
    plane[2, 3] = 1  # right, front
    plane[0, 0] = 2  # left, back
    picture = radiological(plane)
    assert picture.shape == (4, 3)
    assert picture[0, 0] == 1
    assert picture[-1, -1] == 2


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "sheet.png"
    image = np.full((60, 70), -0.2, np.float32)
    labels = np.zeros((60, 70), np.uint8)
    labels[20:40, 20:40] = 2
    rows = [
        Row("real", (Panel("T1", image), Panel("T2", note="not acquired"))),
        Row("drawn", (Panel("T2 from T1", image, stamp="SYNTHETIC"), Panel("tumour", image, labels=labels))),
        Row("difference", (Panel("plus", image * 0, difference=True, chosen=True),)),
    ]
    write_sheet(path, "a case\na status " + "and a long reason " * 12, "Nothing else.", rows, (2.0, 2.0))
    return path


def test_the_sheet_has_a_place_for_every_panel_and_nothing_stays_beside_it(sheet):
    picture = imread(sheet)
    assert picture.shape[1] > 2 * PANEL_INCHES * 100
    assert picture.shape[0] > 3 * PANEL_INCHES * 100
    assert [path.name for path in sheet.parent.iterdir()] == ["sheet.png"]


def test_stamp_labels_and_choice_are_seen_on_the_sheet(sheet):
    red, green, blue = (imread(sheet)[..., channel] for channel in range(3))
    assert ((red > 0.9) & (green > 0.5) & (green < 0.7) & (blue < 0.3)).any()  # the stamp's orange
    assert ((blue > red + 0.2) & (blue > 0.5)).any()  # oedema's blue
    assert ((green > 0.8) & (red < 0.4) & (blue < 0.6)).any()  # the chosen frame's green


def test_the_sheet_says_that_it_is_for_research(sheet):
    assert b"RESEARCH USE ONLY. Nothing else." in sheet.read_bytes()
