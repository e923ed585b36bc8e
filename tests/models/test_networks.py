"""Laws of the conditional U-Net, its embeddings and the identifier."""

from __future__ import annotations

import pytest
import torch

from common.nets.conditional_unet import ConditionalUNet, SelfAttention
from common.nets.embeddings import Modulation, sinusoid
from common.nets.identifier import Identifier


def test_modulation_with_zero_weights_is_instance_norm(rng: torch.Generator) -> None:
    modulation = Modulation(6, 5)
    torch.nn.init.zeros_(modulation.scale_shift.weight)
    torch.nn.init.zeros_(modulation.scale_shift.bias)
    x = torch.randn(2, 6, 8, 8, generator=rng) * 3 + 1
    expected = torch.nn.functional.instance_norm(x)
    assert torch.allclose(modulation(x, torch.randn(2, 5, generator=rng)), expected, atol=1e-5)


def test_modulation_scales_by_one_more_than_its_scale_and_adds_its_shift(rng: torch.Generator) -> None:
    modulation = Modulation(1, 1)
    torch.nn.init.zeros_(modulation.scale_shift.weight)
    with torch.no_grad():
        modulation.scale_shift.bias.copy_(torch.tensor([2.0, 0.5]))
    x = torch.randn(1, 1, 8, 8, generator=rng)
    out = modulation(x, torch.zeros(1, 1))
    assert out.mean().item() == pytest.approx(0.5, abs=1e-5)
    assert out.std(correction=0).item() == pytest.approx(3.0, abs=1e-3)


def test_the_sinusoid_of_time_zero_is_zeros_and_ones() -> None:
    assert sinusoid(torch.tensor([0]), 6).tolist() == [[0, 0, 0, 1, 1, 1]]


def test_attention_starts_as_the_identity(rng: torch.Generator) -> None:
    x = torch.randn(2, 8, 4, 5, generator=rng)
    assert torch.equal(SelfAttention(8, 2)(x), x)


def test_an_untrained_synthesiser_returns_t1(rng: torch.Generator) -> None:
    model = ConditionalUNet("tiny")
    condition = torch.randn(2, 2, 32, 48, generator=rng)
    drawn = model(torch.randn(2, 1, 32, 48, generator=rng), torch.tensor([3, 7]), condition, torch.tensor([0, 1]))
    assert torch.equal(drawn.image, condition[:, :1])
    assert drawn.tumour_logits.shape == (2, 1, 32, 48)


def test_slices_of_a_batch_do_not_see_each_other(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    model = ConditionalUNet("tiny").eval()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    x, condition = torch.randn(3, 1, 32, 32, generator=rng), torch.randn(3, 2, 32, 32, generator=rng)
    t, label = torch.tensor([0, 5, 9]), torch.tensor([0, 1, 0])
    with torch.no_grad():
        together = model(x, t, condition, label).image
        alone = model(x[1:2], t[1:2], condition[1:2], label[1:2]).image
    assert torch.allclose(together[1:2], alone, atol=1e-3)


@pytest.mark.parametrize(("size", "low", "high"), [("tiny", 0.9e6, 1.5e6), ("paper", 8.4e6, 10.3e6)])
def test_the_synthesiser_has_the_parameters_that_its_size_promises(size: str, low: float, high: float) -> None:
    model = ConditionalUNet(size)  # type: ignore[arg-type]
    assert low < sum(parameter.numel() for parameter in model.parameters()) < high


@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_the_identifier_gives_one_logit_a_slice(size: str) -> None:
    model = Identifier(size).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 32, 40)).shape == (2,)
