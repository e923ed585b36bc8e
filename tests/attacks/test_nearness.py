"""How near a picture lies to one trained patient: copies do, blur, mean pictures and noise do not."""

import numpy as np
import pytest

from common.attacks.nearness import COPIED, copy_ratio, masked_distances, nearness


def distances(pictures, trained):
    """Distances to each of the trained patients (P, F), one slice each."""
    masks = np.ones_like(pictures)
    return np.stack([masked_distances(pictures, masks, one[None])[:, 0] for one in trained], axis=1)


@pytest.fixture
def cohort():
    """Thirty trained patients and eight held-out ones of the same kind."""
    generator = np.random.default_rng(3)
    common = generator.normal(size=200)
    return common + generator.normal(size=(30, 200)), common + generator.normal(size=(8, 200))


def test_distances_count_inside_the_mask_alone():
    picture, mask = np.array([[1.0, 5.0]]), np.array([[1.0, 0.0]])
    assert masked_distances(picture, mask, np.array([[3.0, -9.0], [1.0, 0.0]])).tolist() == [[2.0, 0.0]]


def test_a_picture_as_far_from_all_is_not_near_and_a_copy_is():
    assert nearness(np.array([[2.0, 2.0, 2.0], [0.0, 2.0, 2.0]])).tolist() == [1.0, 0.0]


def test_a_copy_is_called_one_and_so_is_a_copy_in_a_little_noise(cohort):
    trained, held_out = cohort
    noisy = trained[:8] + np.random.default_rng(4).normal(0, 0.1, (8, 200))
    for drawn in (trained[:8], noisy):
        assert (copy_ratio(distances(drawn, trained), distances(held_out, trained)) < COPIED).all()


@pytest.mark.parametrize("kind", ["true", "blurred", "mean", "noise"])
def test_what_is_no_copy_is_not_called_one(cohort, kind):
    trained, held_out = cohort
    drawn = {
        "true": held_out,
        "blurred": 0.5 * held_out + 0.5 * trained.mean(0),
        "mean": np.repeat(trained.mean(0)[None], 8, axis=0),
        "noise": np.random.default_rng(5).normal(size=(8, 200)),
    }[kind]
    assert (copy_ratio(distances(drawn, trained), distances(held_out, trained)) > COPIED).all()


def test_a_patient_whose_real_picture_has_a_copy_among_the_trained_accuses_nobody(cohort):
    trained, _ = cohort
    there = distances(trained[:2], trained)
    assert (copy_ratio(there, there) > COPIED).all()
