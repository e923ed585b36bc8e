"""Laws of the segmentation loss under partial labels."""

from __future__ import annotations

import pytest
import torch

from client.training.tumour_loss import deep_tumour_loss, tumour_loss, tumour_targets


def test_labels_spell_whole_tumour_core_and_enhancing_tumour() -> None:
    labels = torch.tensor([[[0, 1, 2, 4]]], dtype=torch.uint8)
    targets = tumour_targets(labels, torch.tensor([2]))
    assert targets.masks[0, :, 0].tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert targets.known.tolist() == [[True, True, True]]


def test_a_whole_tumour_roi_speaks_about_the_whole_tumour_alone() -> None:
    labels = torch.ones(2, 1, 4, dtype=torch.uint8)
    targets = tumour_targets(labels, torch.tensor([1, 0]))
    assert targets.known.tolist() == [[True, False, False], [False, False, False]]
    assert float(targets.masks.sum()) == 4


def test_what_is_unknown_has_no_gradient() -> None:
    logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
    known = torch.tensor([[True, False, False], [False, False, False]])
    tumour_loss(logits, torch.ones(2, 3, 4, 4), known).backward()
    assert logits.grad is not None
    assert bool((logits.grad[0, 0] != 0).all())
    assert float(logits.grad[0, 1:].abs().sum()) == 0
    assert float(logits.grad[1].abs().sum()) == 0


def test_a_batch_without_labels_costs_nothing_and_moves_nothing() -> None:
    loss = tumour_loss(torch.zeros(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 3, 4, 4), torch.zeros(2, 3).bool())
    assert float(loss) == 0 and not loss.requires_grad


def test_a_false_positive_on_a_tumour_free_slice_costs_loss_and_is_pushed_down() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, :, 2:6, 2:6] = 1
    known = torch.ones(2, 1, dtype=torch.bool)
    right = (masks * 2 - 1) * 8
    wrong = right.clone()
    wrong[1, :, 0, 0] = 2
    wrong.requires_grad_()
    loss = tumour_loss(wrong, masks, known)
    assert loss.item() > float(tumour_loss(right, masks, known)) + 0.02
    loss.backward()
    assert wrong.grad is not None and float(wrong.grad[1, 0, 0, 0]) > 0


def test_the_loss_of_a_sure_and_right_answer_is_almost_zero_and_of_even_odds_known_by_hand() -> None:
    masks = torch.zeros(1, 1, 2, 2)
    masks[0, 0, 0] = 1
    known = torch.ones(1, 1, dtype=torch.bool)
    assert float(tumour_loss((masks * 2 - 1) * 30, masks, known)) == pytest.approx(0, abs=1e-6)
    # p = 1/2 on four pixels, two of them tumour: Dice (2·1 + 1) / (2 + 2 + 1) = 0.6, entropy ln 2
    assert float(tumour_loss(torch.zeros(1, 1, 2, 2), masks, known)) == pytest.approx(0.4 + 0.6931, abs=1e-3)


def test_a_patch_costs_what_its_slices_cost_together(rng: torch.Generator) -> None:
    logits = torch.randn(2, 3, 4, 8, 8, generator=rng)
    masks = (torch.rand(2, 3, 4, 8, 8, generator=rng) > 0.8).float()
    known = torch.tensor([[True, True, True], [True, False, False]])
    slices = (stack.transpose(1, 2).flatten(0, 1) for stack in (logits, masks))
    expected = tumour_loss(*slices, known.repeat_interleave(4, 0))
    assert float(tumour_loss(logits, masks, known)) == pytest.approx(float(expected), rel=1e-6)


def test_each_coarser_level_weighs_half_of_the_one_before() -> None:
    masks = torch.ones(1, 1, 4, 4)
    known = torch.ones(1, 1, dtype=torch.bool)
    right, wrong = torch.full((1, 1, 4, 4), 30.0), torch.zeros(1, 1, 2, 2)
    alone = float(tumour_loss(wrong, torch.ones(1, 1, 2, 2), known))
    assert float(deep_tumour_loss([right, wrong], masks, known)) == pytest.approx(alone * 0.5 / 1.5, abs=1e-5)
    assert float(deep_tumour_loss([right, right], masks, known)) == pytest.approx(0, abs=1e-5)
    assert float(deep_tumour_loss([right], masks, known)) == float(tumour_loss(right, masks, known))


def test_a_coarser_level_is_asked_for_every_second_voxel() -> None:
    masks = torch.zeros(1, 1, 4, 8, 8)
    masks[:, :, :, 2:6, 4:] = 1
    known = torch.ones(1, 1, dtype=torch.bool)
    coarse = (masks[:, :, ::2, ::2, ::2] * 2 - 1) * 30
    assert float(deep_tumour_loss([(masks * 2 - 1) * 30, coarse], masks, known)) == pytest.approx(0, abs=1e-5)


def test_what_is_unknown_has_no_gradient_at_any_level() -> None:
    levels = [torch.zeros(2, 3, *[side] * 3, requires_grad=True) for side in (8, 4, 2)]
    known = torch.tensor([[True, False, False], [False, False, False]])
    deep_tumour_loss(levels, torch.ones(2, 3, 8, 8, 8), known).backward()
    for level in levels:
        assert level.grad is not None and bool((level.grad[0, 0] != 0).all())
        assert float(level.grad[0, 1:].abs().sum()) == float(level.grad[1].abs().sum()) == 0


def test_a_batch_without_labels_moves_nothing_at_any_level() -> None:
    levels = [torch.zeros(1, 3, side, side, requires_grad=True) for side in (4, 2)]
    loss = deep_tumour_loss(levels, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3).bool())
    assert float(loss) == 0 and not loss.requires_grad


def test_a_false_positive_in_a_tumour_free_patch_costs_loss_at_every_level() -> None:
    masks, known = torch.zeros(2, 1, 4, 8, 8), torch.ones(2, 1, dtype=torch.bool)
    masks[0, :, 1:3, 2:6, 2:6] = 1
    right = [(masks[:, :, ::step, ::step, ::step] * 2 - 1) * 8 for step in (1, 2)]
    for number in (0, 1):
        wrong = [level.clone() for level in right]
        wrong[number][1, 0, 0, 0, 0] = 2
        assert float(deep_tumour_loss(wrong, masks, known)) > float(deep_tumour_loss(right, masks, known)) + 0.001
