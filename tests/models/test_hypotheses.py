"""Laws of drawing both hypotheses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from common.generative.hypotheses import draw_hypotheses
from common.generative.noise_schedule import cosine_schedule
from common.generative.samplers import DiffusionSampler, DirectSampler, FlowSampler, Sampler
from common.nets.conditional_unet import ConditionalUNet

DDIM = DiffusionSampler(cosine_schedule(100), 3)
REAL = torch.ones(2, 2, dtype=torch.int64)
SAMPLERS = (DDIM, DiffusionSampler(cosine_schedule(100), 3, "velocity"), FlowSampler("dopri5", 2), DirectSampler())


def _lively_unet() -> ConditionalUNet:
    """A network whose zero-initialised last layer has been moved, so that its label and noise can be seen."""
    torch.manual_seed(0)
    model = ConditionalUNet("tiny").eval()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    return model


def test_both_hypotheses_are_identical_where_the_label_says_nothing(rng: torch.Generator) -> None:
    model = _lively_unet()
    with torch.no_grad():
        model.embedding.label.weight[1] = model.embedding.label.weight[0]
    condition = torch.randn(2, 2, 16, 32, generator=rng) * 0.3
    drawn = draw_hypotheses(model, condition, REAL, torch.randn(2, 1, 16, 32, generator=rng), DDIM)
    assert torch.allclose(drawn.enhancing, drawn.non_enhancing, atol=1e-5)


def test_the_label_alone_makes_the_hypotheses_differ(rng: torch.Generator) -> None:
    model = _lively_unet()
    condition = torch.randn(2, 2, 16, 32, generator=rng) * 0.3
    noise = torch.randn(2, 1, 16, 32, generator=rng)
    drawn = draw_hypotheses(model, condition, REAL, noise, DDIM)
    assert not torch.allclose(drawn.enhancing, drawn.non_enhancing, atol=1e-3)
    assert drawn.enhancing.shape == drawn.non_enhancing.shape == drawn.tumour_logits.shape == noise.shape
    assert float(drawn.enhancing.abs().max()) <= 1
    again = draw_hypotheses(model, condition, REAL, noise, DDIM)
    assert torch.equal(drawn.enhancing, again.enhancing)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_every_evaluation_shows_both_hypotheses_the_same_noise(sampler: Sampler, rng: torch.Generator) -> None:
    """A model that ignores its label: had the two halves other noise anywhere, they would come apart."""
    halves: list[bool] = []

    def model(x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor) -> SimpleNamespace:
        halves.append(torch.equal(x_t[:2], x_t[2:]) and torch.equal(condition[:2], condition[2:]))
        assert enhancing.tolist() == [1, 1, 0, 0]
        return SimpleNamespace(image=condition[:, :1] + 0.1 * x_t, tumour_logits=x_t)

    condition, noise = torch.randn(2, 2, 4, 4, generator=rng), torch.randn(2, 1, 4, 4, generator=rng)
    drawn = draw_hypotheses(model, condition, REAL, noise, sampler)
    assert all(halves)
    assert torch.equal(drawn.enhancing, drawn.non_enhancing)


def test_a_drawn_difference_is_added_to_its_base(rng: torch.Generator) -> None:
    def model(x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor) -> SimpleNamespace:
        return SimpleNamespace(image=0.5 * enhancing[:, None, None, None].expand_as(x_t), tumour_logits=x_t)

    condition = torch.tensor([-0.2, 0.7])[:, None, None, None].expand(2, 2, 4, 4)
    noise = torch.randn(2, 1, 4, 4, generator=rng)
    drawn = draw_hypotheses(model, condition, REAL, noise, DDIM, base=condition[:, :1])
    assert drawn.enhancing[:, 0, 0, 0].tolist() == pytest.approx([0.3, 1.0])  # clipped to the range of greys
    assert drawn.non_enhancing[:, 0, 0, 0].tolist() == pytest.approx([-0.2, 0.7])
