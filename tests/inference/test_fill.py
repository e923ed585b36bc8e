"""Filling: which sequence is drawn from which, in whose style, and what stays untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from client.inference.fill import Redrawer, fill_missing, fill_volumes, pick_domain, pick_source, translate_volume
from common.errors import DataError
from common.sequences import STRUCTURAL, Domain, Sequence, with_twins

T1, T1GD, T2, FLAIR = STRUCTURAL


class Brightener:
    """A translator whose picture of domain number d is the source plus d tenths."""

    def __init__(self, *keys: str) -> None:
        self.domains = with_twins(tuple(Domain.parse(key) for key in keys))
        self.calls: list[list[int]] = []

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        self.calls.append(target.tolist())
        return image + target[:, None, None, None] / 10


def batch(values: dict[Sequence, list[float]]) -> tuple[dict[Sequence, Tensor], dict[Sequence, Tensor]]:
    """Slices of one value each, 2 x 2 voxels of which the last is background; NaN stands for absent."""
    images, present = {}, {}
    for sequence, row in values.items():
        levels = torch.tensor(row)
        images[sequence] = levels.nan_to_num(nan=-1.0)[:, None, None, None].repeat(1, 1, 2, 2)
        images[sequence][:, :, 1, 1] = -1
        present[sequence] = ~levels.isnan()
    return images, present


@pytest.mark.parametrize(
    ("target", "present", "source"),
    [
        (T1GD, {T1, T2, FLAIR}, T1),
        (T1, {T1GD, T2}, T1GD),
        (T2, {T1, T1GD, FLAIR}, FLAIR),
        (FLAIR, {T1, T2}, T2),
        (FLAIR, {T1, T1GD}, T1),
        (T1GD, {T2, FLAIR}, T2),
        (Sequence.ADC, {FLAIR, T2}, T2),
        (T2, {Sequence.ADC}, Sequence.ADC),
        (T2, {T2}, None),
    ],
)
def test_the_nearest_sequence_is_the_source(target, present, source):
    assert pick_source(target, present) == source


def test_a_fill_is_drawn_as_its_own_site_would_draw_it_else_as_the_reference_centre():
    domains = with_twins((Domain("a", T1), Domain("b", T1), Domain("c", T2)))
    assert pick_domain(domains, T1, "b", "a") == Domain("b", T1)
    assert pick_domain(domains, T1, "elsewhere", "a") == Domain("a", T1)
    assert pick_domain(domains, T2, "b", "a") == Domain("c", T2)
    assert pick_domain(domains, FLAIR, "b", "a") is None


def test_real_rows_stay_and_missing_rows_are_filled_in_one_pass():
    model = Brightener("a:T1", "a:T2")
    nothing = float("nan")
    images, present = batch({T1: [0.0, 0.2, nothing], T2: [nothing, 0.5, nothing]})
    filled = fill_missing(model, images, present, "a", "a")
    assert torch.equal(filled[T1][:2], images[T1][:2])
    assert filled[T2][:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.5, -1])
    assert filled[T2][:, 0, 1, 1].tolist() == [-1, -1, -1]
    assert model.calls == [[1]]


def test_dark_voxels_inside_a_given_brain_are_filled_too():
    model = Brightener("a:T1", "a:T2")
    images, present = batch({T1: [0.0], T2: [float("nan")]})
    whole = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    filled = fill_missing(model, images, present, "a", "a", brain=whole)
    assert filled[T2][0, 0, 1, 1].item() == pytest.approx(-0.9)


def test_a_sequence_that_no_site_holds_stays_empty():
    images, present = batch({T1: [0.0], FLAIR: [float("nan")]})
    filled = fill_missing(Brightener("a:T1"), images, present, "a", "a")
    assert (filled[FLAIR] == -1).all()


def test_a_volume_in_batches_equals_the_volume_at_once():
    model = Brightener("a:T1", "a:T2")
    slices = np.random.default_rng(1).uniform(-0.9, 0.5, (7, 4, 4)).astype(np.float32)
    slices[3] = -1
    once = translate_volume(model, slices, Domain("a", T2), batch=100)
    parts = translate_volume(model, slices, Domain("a", T2), batch=2)
    assert np.array_equal(once, parts)
    assert (once[3] == -1).all()
    assert np.allclose(once[0], slices[0] + 0.1)


def test_an_unknown_domain_is_refused_by_name():
    with pytest.raises(DataError, match="b:T1: not a domain"):
        translate_volume(Brightener("a:T1"), np.zeros((1, 4, 4), np.float32), Domain("b", T1))


def test_only_what_is_missing_and_within_reach_is_filled():
    model = Brightener("a:T1", "a:T2", "b:T2")
    slices = np.full((2, 4, 4), 0.3, np.float32)
    case = Redrawer(model, {T1: slices}, np.ones((2, 4, 4), np.uint8))
    filled = fill_volumes(case, {T1}, STRUCTURAL, "b", "a")
    fill_volumes(case, {T1}, STRUCTURAL, "b", "a")
    assert len(model.calls) == 1
    assert set(filled) == {T2}
    assert (filled[T2].source, filled[T2].domain) == (T1, Domain("b", T2))
    assert np.allclose(filled[T2].slices, 0.5)
