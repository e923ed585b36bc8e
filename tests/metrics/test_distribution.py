import numpy as np
import pytest

from common.metrics.distribution import Moments, frechet_distance, moments_of


def features(count: int, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).standard_normal((count, 5))


def test_a_population_lies_at_no_distance_from_itself():
    one = moments_of(features(50))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_known_gaussians_is_the_closed_form():
    spread = np.diag([1.0, 4.0, 9.0])
    one = Moments(11, np.zeros(3), spread * 10)
    shifted = Moments(11, 11 * np.array([3.0, 0, 4.0]), spread * 4 * 10 + 11 * np.outer([3, 0, 4], [3, 0, 4]))
    # |m - m'|² = 25; tr(C + 4C - 2 · 2C) = tr(C) = 14
    assert frechet_distance(one, shifted) == pytest.approx(39)


def test_sums_of_sites_give_the_pooled_distance():
    here, there, other = features(30, seed=1), features(20, 2.0, seed=2), features(40, 1.0, 0.5, seed=3)
    pooled = frechet_distance(moments_of(np.concatenate([here, there])), moments_of(other))
    assert frechet_distance(moments_of(here) + moments_of(there), moments_of(other)) == pytest.approx(pooled)


def test_a_common_shift_does_not_matter_and_keeps_large_features_exact():
    one, other = features(30, 1e6), features(30, 1e6 + 1, seed=4)
    near = frechet_distance(moments_of(one - 1e6), moments_of(other - 1e6))
    assert frechet_distance(moments_of(one, 1e6), moments_of(other, 1e6)) == pytest.approx(near)


def test_fewer_samples_than_features_still_have_a_distance():
    assert np.isfinite(frechet_distance(moments_of(features(3)), moments_of(features(3, 1.0, seed=5))))


def test_one_vector_has_no_covariance():
    with pytest.raises(ValueError, match="two are needed"):
        frechet_distance(moments_of(features(1)), moments_of(features(5)))
