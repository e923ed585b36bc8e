"""Brain extraction and registration on the real head of site-c: skull present, four grids, no mask given."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from client.data.cache import CachedCase, LabelKind
from client.data.catalog import CatalogCase, scan_folder
from client.data.preprocessing import PrepareSettings, prepare_case
from client.imaging.nifti import read_volume
from client.imaging.resample import mask_to_grid, to_grid
from common.sequences import STRUCTURAL, Sequence

MASKS = {Sequence.T1: "t1", Sequence.T1GD: "t1c", Sequence.T2: "t2", Sequence.FLAIR: "fla"}


@pytest.fixture(scope="module")
def head(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CatalogCase, CachedCase]:
    (case,) = scan_folder(real_data / "site-c").cases
    return case, prepare_case(case, PrepareSettings(n4=False), tmp_path_factory.mktemp("cache"))


def reference_mask(real_data: Path, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """HD-BET's brain in the native space of a sequence, and its affine."""
    mask = read_volume(real_data / "reference" / "TCGA-FG-6692" / f"brainmask_{MASKS[sequence]}.nii.gz")
    return mask.data > 0.5, mask.affine


def to_reference(cached: CachedCase, sequence: Sequence) -> np.ndarray:
    return np.array(cached.native["sequences"][sequence.value]["to_reference"])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_brain_found_in_every_sequence_is_that_of_a_trained_network(real_data, head):
    _, cached = head
    scores = []
    for sequence in STRUCTURAL:
        truth, affine = reference_mask(real_data, sequence)
        brain = cached.brain().transpose(1, 2, 0)
        found = to_grid(brain, cached.affine, truth.shape, to_reference(cached, sequence) @ affine) > 0.5
        scores.append(overlap(found, truth))
    assert np.mean(scores) >= 0.93, scores


def test_four_masks_carried_to_one_grid_agree(real_data, head):
    case, cached = head
    assert cached.native["reference"] == "FLAIR"
    grid = read_volume(case.images[Sequence.FLAIR])
    carried = []
    for sequence in STRUCTURAL:
        mask, affine = reference_mask(real_data, sequence)
        carried.append(mask_to_grid(mask, to_reference(cached, sequence) @ affine, grid.data.shape, grid.affine))
    scores = [overlap(one, other) for one, other in combinations(carried, 2)]
    assert min(scores) >= 0.93, scores


def test_the_prepared_head_holds_four_sequences_of_a_whole_brain(head):
    _, cached = head
    assert set(cached.sequences) == set(STRUCTURAL)
    assert cached.label_kind is LabelKind.NONE
    litres = cached.brain().sum() * abs(np.linalg.det(cached.affine[:3, :3])) * 1e-6
    assert 1.4 < litres < 1.7
    for sequence in STRUCTURAL:
        seen = cached.slices(sequence)[cached.brain() > 0] > -1
        assert seen.mean() > 0.93
