"""The measures behind the suspicions of a swap: laws, and where they must keep quiet."""

from __future__ import annotations

import numpy as np
import pytest

from client.data.checks.sketch import Sketch, centres, sample, shared_information
from client.data.checks.swaps import DARKENING, enhancement

RNG = np.random.default_rng(5)
BEFORE = RNG.normal(100, 20, 20_000).astype(np.float32)


def enhanced(strength: float, share: float = 0.01) -> np.ndarray:
    vessels = RNG.random(BEFORE.size) < share
    return (BEFORE + RNG.normal(0, 3, BEFORE.size) + strength * vessels).astype(np.float32)


def test_an_image_shares_all_with_itself_and_nothing_with_noise() -> None:
    assert shared_information(BEFORE, BEFORE) == pytest.approx(1)
    assert shared_information(BEFORE, RNG.permutation(BEFORE)) < 0.01


def test_shared_information_does_not_depend_on_contrast_or_order() -> None:
    after = enhanced(50)
    inverted = (500 - 2 * after).astype(np.float32)
    assert shared_information(BEFORE, inverted) == pytest.approx(shared_information(BEFORE, after), abs=1e-3)
    assert shared_information(BEFORE, after) == pytest.approx(shared_information(after, BEFORE))


def test_nothing_is_shared_with_an_empty_image() -> None:
    assert shared_information(BEFORE, np.zeros_like(BEFORE)) == 0


def test_enhancement_changes_sign_with_the_names() -> None:
    after = enhanced(100)
    assert enhancement(BEFORE, after) > 0.2
    assert enhancement(after, BEFORE) == pytest.approx(-enhancement(BEFORE, after))


@pytest.mark.parametrize("seed", range(5))
def test_a_pair_without_any_uptake_raises_no_suspicion(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 5, BEFORE.size).astype(np.float32)
    assert abs(enhancement(BEFORE, 1.7 * BEFORE + noise)) < abs(DARKENING) / 2


def test_a_tissue_that_loses_contrast_raises_no_suspicion() -> None:
    fat = RNG.random(BEFORE.size) < 0.05
    before, after = (np.where(fat, bright, BEFORE + RNG.normal(0, 3, BEFORE.size)) for bright in (300, 220))
    assert abs(enhancement(before.astype(np.float32), after.astype(np.float32))) < abs(DARKENING) / 2


def test_enhancement_of_an_empty_pair_is_nil() -> None:
    assert enhancement(np.zeros(10, np.float32), np.zeros(10, np.float32)) == 0


def test_sampling_at_its_own_centres_gives_the_volume_and_mirroring_turns_it() -> None:
    volume = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    image = Sketch(volume, np.array([[3.0, 0, 0, -7], [0, 3, 0, 2], [0, 0, 5, 1], [0, 0, 0, 1]]))
    points = centres(image)
    assert np.array_equal(sample(image, points).reshape(volume.shape), volume)
    assert np.array_equal(sample(image, points, mirrored=True).reshape(volume.shape), volume[::-1])
    assert not sample(image, points + 100).any()
