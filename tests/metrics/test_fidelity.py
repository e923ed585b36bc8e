import numpy as np
import pytest

from common.metrics.fidelity import IDENTICAL_DB, mean_absolute_error, measure, similarity_map, to_greys


@pytest.fixture
def slices():
    return np.random.default_rng(1).uniform(0, 255, (3, 24, 20))


def everywhere(image):
    return np.ones(image.shape, dtype=bool)


def test_network_values_map_to_the_ends_and_the_middle_of_the_grey_scale():
    assert to_greys(np.array([-1.0, 0.0, 1.0])).tolist() == [0.0, 127.5, 255.0]


def test_an_image_differs_from_itself_by_nothing(slices):
    found = measure(slices, slices, everywhere(slices))
    assert found is not None
    assert (found.mae, found.psnr_db) == (0.0, IDENTICAL_DB)
    assert found.ssim == pytest.approx(1.0)


def test_a_shift_of_ten_greys_has_mae_ten_and_the_psnr_of_its_square(slices):
    found = measure(slices + 10, slices, everywhere(slices))
    assert found is not None
    assert found.mae == pytest.approx(10)
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / 100))


def test_only_voxels_inside_the_mask_count(slices):
    mask = np.zeros(slices.shape, dtype=bool)
    mask[1, 4:8, 4:8] = True
    wrong_outside = np.where(mask, slices + 2, 0)
    assert mean_absolute_error(wrong_outside, slices, mask) == pytest.approx(2)


def test_an_empty_mask_has_no_fidelity_rather_than_a_perfect_one(slices):
    nothing = np.zeros(slices.shape, dtype=bool)
    assert measure(slices, slices, nothing) is None
    assert mean_absolute_error(slices, slices, nothing) is None


def test_the_similarity_of_two_flat_images_is_that_of_their_means():
    first, second = np.full((1, 16, 16), 100.0), np.full((1, 16, 16), 120.0)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert similarity_map(first, second) == pytest.approx(np.full((1, 16, 16), expected))


def test_slices_are_compared_one_by_one(slices):
    whole = similarity_map(slices, slices[::-1])
    alone = similarity_map(slices[:1], slices[::-1][:1])
    assert whole[:1] == pytest.approx(alone)


def test_similarity_agrees_with_the_map_that_monai_computes(slices):
    import torch
    from monai.metrics.regression import compute_ssim_and_cs

    other = np.clip(slices + np.random.default_rng(2).normal(0, 20, slices.shape), 0, 255)
    pair = [torch.from_numpy(image[:, None]).double() for image in (slices, other)]
    theirs, _ = compute_ssim_and_cs(
        *pair, spatial_dims=2, kernel_size=(11, 11), kernel_sigma=(1.5, 1.5), data_range=255
    )
    assert similarity_map(slices, other)[:, 5:-5, 5:-5] == pytest.approx(theirs[:, 0].numpy(), abs=1e-4)
