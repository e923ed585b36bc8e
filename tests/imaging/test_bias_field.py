"""N4 on a coarse grid."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.bias_field import correct_bias, estimate_bias
from common.errors import DataError


def field_on(shape: tuple[int, ...]) -> np.ndarray:
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    return np.exp(0.3 * (0.6 * i - 0.5 * j**2 + 0.4 * k + 0.5 * i * j))


def test_a_known_field_is_recovered(blob):
    truth = field_on(blob.data.shape)
    biased = (blob.data * truth).astype(np.float32)
    found = estimate_bias(biased, blob.mask, blob.affine).on(blob.data.shape, blob.affine)
    assert np.corrcoef(np.log(found[blob.mask]), np.log(truth[blob.mask]))[0, 1] > 0.95


def test_a_corrected_volume_is_nearer_to_the_unbiased_one(blob):
    biased = (blob.data * field_on(blob.data.shape)).astype(np.float32)
    corrected = correct_bias(biased, blob.mask, blob.affine)

    def distance(volume: np.ndarray) -> float:
        ratio = np.log(volume[blob.mask] / blob.data[blob.mask])
        return float(ratio.std())

    assert distance(corrected) < 0.45 * distance(biased)


def test_the_mean_brightness_stays(blob):
    biased = (blob.data * field_on(blob.data.shape)).astype(np.float32)
    corrected = correct_bias(biased, blob.mask, blob.affine)
    assert np.log(corrected[blob.mask] / biased[blob.mask]).mean() == pytest.approx(0, abs=0.01)


def test_the_result_is_always_the_same(blob):
    one, two = (estimate_bias(blob.data, blob.mask, blob.affine).log_field for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_brain_of_a_few_voxels_is_refused(blob):
    few = np.zeros_like(blob.mask)
    few[20:23, 20:23, 20:23] = True
    with pytest.raises(DataError, match="too few brain voxels"):
        estimate_bias(blob.data, few, blob.affine)
