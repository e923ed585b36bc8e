import base64
import io

import numpy as np
from PIL import Image

from simulations.report.pictures import crop_to, difference_tile, grey_tile, overlay_tile

EVERYWHERE = crop_to(np.zeros((0, 0), dtype=bool))


def pixels(tile):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.source.partition(",")[2]))))


def test_the_front_of_the_head_is_at_the_top():
    plane = np.full((40, 40), -1.0)
    plane[:, 30:] = 1  # W grows to the front
    shown = pixels(grey_tile(plane, EVERYWHERE, "front bright"))
    assert shown[0].min() == 255
    assert shown[-1].max() == 0


def test_equal_images_differ_by_black_and_brighter_ones_by_orange():
    plane, brain = np.zeros((40, 40)), np.ones((40, 40), dtype=bool)
    assert pixels(difference_tile(plane, plane, brain, EVERYWHERE, "")).max() == 0
    red, _, blue = pixels(difference_tile(plane + 0.4, plane, brain, EVERYWHERE, ""))[5, 5]
    assert red > 150 > blue


def test_the_crop_holds_the_brain_and_its_margin():
    brain = np.zeros((64, 80), dtype=bool)
    brain[20:40, 10:70] = True
    assert crop_to(brain)(brain).shape == (64, 24)


def test_labels_tint_and_the_outline_is_white():
    plane, labels = np.zeros((40, 40)), np.zeros((40, 40), dtype=np.uint8)
    labels[10:30, 10:30] = 4
    shown = pixels(overlay_tile(plane, labels, labels > 0, EVERYWHERE, ""))
    height = shown.shape[0] // 40
    assert shown[10 * height + height // 2, 20 * height].min() > 200
    red, _, blue = shown[20 * height, 20 * height]
    assert red > blue + 60
