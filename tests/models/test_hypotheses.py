"""Laws of drawing both hypotheses."""

from __future__ import annotations

import torch

from common.generative.hypotheses import draw_hypotheses
from common.generative.noise_schedule import cosine_schedule
from common.nets.conditional_unet import ConditionalUNet

SCHEDULE = cosine_schedule(100)


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
    drawn = draw_hypotheses(model, condition, torch.randn(2, 1, 16, 32, generator=rng), SCHEDULE, 3)
    assert torch.allclose(drawn.enhancing, drawn.non_enhancing, atol=1e-5)


def test_the_label_alone_makes_the_hypotheses_differ(rng: torch.Generator) -> None:
    model = _lively_unet()
    condition = torch.randn(2, 2, 16, 32, generator=rng) * 0.3
    noise = torch.randn(2, 1, 16, 32, generator=rng)
    drawn = draw_hypotheses(model, condition, noise, SCHEDULE, 3)
    assert not torch.allclose(drawn.enhancing, drawn.non_enhancing, atol=1e-3)
    assert drawn.enhancing.shape == drawn.non_enhancing.shape == drawn.tumour_logits.shape == noise.shape
    assert float(drawn.enhancing.abs().max()) <= 1
    again = draw_hypotheses(model, condition, noise, SCHEDULE, 3)
    assert torch.equal(drawn.enhancing, again.enhancing)
