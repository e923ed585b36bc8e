"""Losses of paired synthesis, on numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from common.generative.paired import dissimilarity, feature_distance, weighted_error
from common.metrics.fidelity import measure, to_greys


def pictures(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_every_loss_is_zero_where_drawn_and_true_agree() -> None:
    true = pictures(0, 2, 1, 16, 16)
    assert weighted_error(true, true, torch.ones_like(true)) == 0
    assert feature_distance([true, true], [true, true]) == 0
    assert dissimilarity(true, true, torch.ones_like(true, dtype=torch.bool)).abs() < 1e-5


def test_the_error_is_a_weighted_mean() -> None:
    drawn, true = torch.tensor([[[[1.0, 0.0, 0.5]]]]), torch.zeros(1, 1, 1, 3)
    assert weighted_error(drawn, true, torch.tensor([[[[1.0, 1.0, 0.0]]]])) == pytest.approx(0.5)
    assert weighted_error(drawn, true, torch.tensor([[[[3.0, 1.0, 0.0]]]])) == pytest.approx(0.75)
    assert weighted_error(drawn, true, torch.tensor([[[[1.0, 0.0, 1.0]]]]), squared=True) == pytest.approx(0.625)


def test_where_nothing_weighs_there_is_no_error_and_no_gradient() -> None:
    drawn = torch.ones(1, 1, 2, 2, requires_grad=True)
    error = weighted_error(drawn, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert error == 0 and not error.requires_grad


def test_layers_weigh_alike_whatever_their_size() -> None:
    drawn, true = [torch.ones(1, 2, 4, 4), torch.zeros(1, 8, 1, 1)], [torch.zeros(1, 2, 4, 4), torch.zeros(1, 8, 1, 1)]
    assert feature_distance(drawn, true) == pytest.approx(0.5)


def test_the_structural_loss_is_the_measure_that_judges_fidelity() -> None:
    drawn, true = pictures(1, 3, 1, 24, 32), pictures(2, 3, 1, 24, 32)
    brain = torch.zeros(3, 1, 24, 32, dtype=torch.bool)
    brain[:, :, 4:20, 6:26] = True
    drawn, true = (torch.where(brain, picture, -1.0) for picture in (drawn, true))
    found = measure(to_greys(drawn[:, 0].numpy()), to_greys(true[:, 0].numpy()), brain[:, 0].numpy())
    assert found is not None
    assert 1 - float(dissimilarity(drawn, true, brain)) == pytest.approx(found.ssim, abs=1e-4)


def test_the_structural_loss_leads_towards_the_true_picture() -> None:
    true = pictures(3, 1, 1, 16, 16)
    drawn = torch.zeros_like(true, requires_grad=True)
    mask = torch.ones_like(true, dtype=torch.bool)
    loss = dissimilarity(drawn, true, mask)
    (gradient,) = torch.autograd.grad(loss, drawn)
    closer = drawn.detach() - 0.1 * gradient / gradient.norm()
    assert dissimilarity(closer, true, mask) < loss.detach()
