import numpy as np
import pytest

from common.metrics.sharpness import gradient_energy, sharpness


def test_a_ramp_has_the_square_of_its_slope_along_one_axis_and_nothing_along_the_other():
    ramp = np.broadcast_to(3.0 * np.arange(8), (2, 6, 8))
    everywhere = np.ones(ramp.shape, bool)
    along, across = 2 * 6 * 7, 2 * 5 * 8
    assert gradient_energy(ramp, everywhere) == pytest.approx(9 * along / (along + across))


def test_half_the_contrast_is_a_quarter_of_the_sharpness():
    real = np.random.default_rng(0).standard_normal((2, 6, 8))
    assert sharpness(real / 2, real, np.ones(real.shape, bool)) == pytest.approx(0.25)


def test_the_edge_of_the_mask_is_no_detail():
    image = np.zeros((1, 6, 6))
    image[:, 2:4, 2:4] = 100
    assert gradient_energy(image, image > 0) == 0


def test_nothing_to_look_at_is_none_and_not_zero():
    image = np.ones((1, 4, 4))
    assert gradient_energy(image, np.zeros(image.shape, bool)) is None
    assert sharpness(image, image, np.ones(image.shape, bool)) is None
