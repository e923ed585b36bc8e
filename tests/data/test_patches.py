"""Laws of where patches lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from client.data.cache import CachedCase, open_case, write_case
from client.data.dataset import CaseStore
from client.data.patches import PatchPlaces, Place
from common.sequences import STRUCTURAL

SHAPE = (12, 20, 24)
WINDOW = (4, 8, 6)
Write = Callable[..., CachedCase]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of cases whose brain leaves a border of two voxels, with the labels it is given."""

    def one(name: str, boxes: dict[int, tuple[slice, slice, slice]], depth: int = SHAPE[0]) -> CachedCase:
        brain = np.zeros((depth, *SHAPE[1:]), np.uint8)
        brain[1:-1, 2:-2, 2:-2] = 1
        labels = np.zeros_like(brain)
        for code, box in boxes.items():
            labels[box] = code
        facts = {
            "case": name, "patient": name, "sequences": ["T1"], "label_kind": "full", "bbb_disrupted": None,
            "affine": np.eye(4).tolist(), "native": {}, "greys": {},
        }  # fmt: skip
        path = tmp_path / f"{name}.safetensors"
        write_case(path, {"T1": brain.astype(np.float32), "brain": brain, "labels": labels}, facts)
        return open_case(path)

    return one


def draw(case: CachedCase, share: float, count: int = 60) -> list[Place]:
    places = PatchPlaces(CaseStore([case], STRUCTURAL), WINDOW, share)
    return places.draw(count, torch.Generator().manual_seed(0), lambda case: True)


def middle(place: Place) -> tuple[int, ...]:
    return tuple(first + side // 2 for first, side in zip(place.first, WINDOW, strict=True))


def inside(place: Place) -> tuple[slice, ...]:
    return tuple(slice(first, first + side) for first, side in zip(place.first, WINDOW, strict=True))


def test_with_share_one_every_patch_is_centred_on_tumour(write: Write) -> None:
    case = write("p", {2: (slice(4, 8), slice(6, 14), slice(8, 16)), 4: (slice(5, 7), slice(9, 11), slice(10, 12))})
    assert all(case.labels()[middle(place)] > 0 for place in draw(case, 1.0))


def test_a_small_label_is_as_likely_as_a_large_one(write: Write) -> None:
    case = write("p", {2: (slice(4, 8), slice(6, 14), slice(8, 16)), 4: (slice(5, 6), slice(9, 10), slice(10, 11))})
    found = [case.labels()[middle(place)] for place in draw(case, 1.0, 400)]
    assert 0.4 < np.mean(np.equal(found, 4)) < 0.6


def test_at_the_border_a_patch_is_moved_inside_and_keeps_its_tumour(write: Write) -> None:
    case = write("p", {1: (slice(0, 1), slice(0, 2), slice(22, 24))})
    for place in draw(case, 1.0):
        assert all(0 <= first <= limit - side for first, limit, side in zip(place.first, SHAPE, WINDOW, strict=True))
        assert case.labels()[inside(place)].any()


def test_without_tumour_or_share_every_patch_is_centred_in_the_brain(write: Write) -> None:
    healthy = write("h", {})
    sick = write("s", {2: (slice(2, 3), slice(2, 3), slice(2, 3))})
    for case, share in ((healthy, 1.0), (sick, 0.0)):
        places = draw(case, share, 200)
        assert all(case.brain()[inside(place)].any() for place in places)
        assert {place.first[0] for place in places} == set(range(SHAPE[0] - WINDOW[0] + 1))


def test_every_voxel_of_a_label_is_as_likely(write: Write) -> None:
    case = write("p", {2: (slice(4, 6), slice(8, 10), slice(10, 12))})
    places = PatchPlaces(CaseStore([case], STRUCTURAL), WINDOW, 1.0)
    drawn = places.draw(800, torch.Generator().manual_seed(1), lambda case: True)
    counts = np.unique([middle(place) for place in drawn], axis=0, return_counts=True)[1]
    assert len(counts) == 8 and counts.min() > 60 and counts.max() < 140


def test_a_volume_of_few_slices_lies_in_the_patch_from_its_first_slice(write: Write) -> None:
    case = write("p", {2: (slice(1, 2), slice(9, 10), slice(9, 10))}, depth=3)
    assert {place.first[0] for place in draw(case, 0.5)} == {0}


def test_the_fixed_patch_surrounds_the_most_tumour_or_the_most_brain(write: Write) -> None:
    case = write("p", {2: (slice(6, 7), slice(8, 12), slice(10, 14)), 4: (slice(2, 6), slice(9, 10), slice(11, 12))})
    places = PatchPlaces(CaseStore([case, write("h", {})], STRUCTURAL), WINDOW, 0.0)
    assert places.middle(0) == Place(0, (4, 6, 9))  # slice 6; rows 8 to 11 and columns 10 to 13 in the middle
    assert places.middle(1).case == 1
