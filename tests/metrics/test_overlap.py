import numpy as np
import pytest

from common.metrics.overlap import dice, hausdorff95_mm

MILLIMETRES = (4.0, 2.0, 2.0)


def cube(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


EMPTY = cube(0, 0)


def test_a_mask_agrees_with_itself():
    assert dice(cube(2, 6), cube(2, 6)) == 1
    assert hausdorff95_mm(cube(2, 6), cube(2, 6), MILLIMETRES) == 0


def test_half_a_mask_has_a_dice_of_two_thirds():
    whole, half = cube(2, 6), cube(2, 6)
    half[4:] = False
    assert dice(half, whole) == pytest.approx(2 / 3)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    assert (dice(EMPTY, EMPTY), hausdorff95_mm(EMPTY, EMPTY, MILLIMETRES)) == (1, 0)
    assert dice(EMPTY, cube(2, 6)) == dice(cube(2, 6), EMPTY) == 0
    diagonal = np.sqrt(48**2 + 24**2 + 24**2)
    assert hausdorff95_mm(EMPTY, cube(2, 6), MILLIMETRES) == pytest.approx(diagonal)


def test_the_distance_is_in_millimetres_along_each_axis():
    first, second = np.zeros((12, 4, 4), dtype=bool), np.zeros((12, 4, 4), dtype=bool)
    first[2], second[5] = True, True
    assert hausdorff95_mm(first, second, MILLIMETRES) == pytest.approx(3 * 4.0)


def test_the_distance_is_the_same_in_both_directions():
    assert hausdorff95_mm(cube(1, 5), cube(3, 10), MILLIMETRES) == hausdorff95_mm(cube(3, 10), cube(1, 5), MILLIMETRES)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_the_distance_agrees_with_monai_on_unit_voxels():
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    masks = [torch.from_numpy(mask[None, None]) for mask in (cube(1, 5), cube(3, 10))]
    theirs = compute_hausdorff_distance(*masks, include_background=True, percentile=95)
    assert hausdorff95_mm(cube(1, 5), cube(3, 10), (1.0, 1.0, 1.0)) == pytest.approx(theirs.item(), rel=1e-3)
