"""Laws of the conditional U-Net, its embeddings and the identifier."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from common.generative.samplers import FlowSampler
from common.nets.attention import attend
from common.nets.conditional_unet import ConditionalUNet, SelfAttention
from common.nets.doubling import double
from common.nets.embeddings import Modulation, sinusoid
from common.nets.identifier import Identifier
from common.nets.instance_norm import instance_norm


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


def test_neighbours_and_other_conditions_are_channels_and_the_base_is_t1s_middle_slice(rng: torch.Generator) -> None:
    model = ConditionalUNet("tiny", conditions=3, slices=7, base=1)
    condition = torch.randn(2, 21, 32, 48, generator=rng)
    noise, t, label = torch.randn(2, 1, 32, 48, generator=rng), torch.tensor([3, 7]), torch.tensor([0, 1])
    assert torch.equal(model(noise, t, condition, label).image, condition[:, 10:11])
    plain = ConditionalUNet("tiny", conditions=3, slices=7, base=None)
    assert not plain(noise, t, condition, label).image.any()


def test_an_untrained_flow_draws_t1_in_a_little_noise(rng: torch.Generator) -> None:
    model = ConditionalUNet("tiny", flow_spread=0.1)
    condition, noise = (torch.rand(2, channels, 32, 48, generator=rng) - 0.5 for channels in (2, 1))

    def network(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            drawn: torch.Tensor = model(x_t, t, condition, torch.tensor([0, 1])).image
        return drawn

    drawn = FlowSampler("midpoint", 20)(network, noise)
    assert torch.allclose(drawn, condition[:, :1] + 0.1 * noise, atol=5e-3)


def test_a_flows_network_says_the_spread_of_each_pixel(rng: torch.Generator) -> None:
    """Told to halve the spread by its last layer's bias, it draws T1 in half the noise."""
    model = ConditionalUNet("tiny", flow_spread=0.2)
    with torch.no_grad():
        model.out.bias[4:] = math.log(0.5)  # the second map, 2 x 2 pixels as channels
    condition, noise = (torch.rand(1, channels, 32, 48, generator=rng) - 0.5 for channels in (2, 1))

    def network(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            drawn: torch.Tensor = model(x_t, t, condition, torch.tensor([0])).image
        return drawn

    drawn = FlowSampler("midpoint", 20)(network, noise)
    assert torch.allclose(drawn, condition[:, :1] + 0.1 * noise, atol=5e-3)


def test_what_a_condition_is_matters_to_a_trained_network_alone(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    model = ConditionalUNet("tiny").eval()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    inputs = (torch.zeros(1, 1, 32, 48), torch.tensor([3]), torch.zeros(1, 2, 32, 48), torch.tensor([0]))
    with torch.no_grad():
        unsaid, real = model(*inputs).image, model(*inputs, torch.tensor([[1, 1]])).image
        assert torch.equal(unsaid, real)
        assert torch.equal(model(*inputs, torch.tensor([[2, 0]])).image, real)
        torch.nn.init.normal_(model.availability.codes.weight, generator=rng)
        said = [model(*inputs, torch.tensor([codes])).image for codes in ([1, 1], [2, 1], [1, 2], [0, 1])]
    assert all(not torch.allclose(one, other, atol=1e-4) for one, other in pairwise(said))


def test_a_network_without_the_label_draws_both_hypotheses_alike(rng: torch.Generator) -> None:
    model = ConditionalUNet("tiny", labelled=False).eval()
    torch.nn.init.normal_(model.out.weight, std=0.1)
    x, condition = torch.randn(1, 1, 32, 48, generator=rng), torch.randn(1, 2, 32, 48, generator=rng)
    with torch.no_grad():
        drawn = [model(x, torch.tensor([5]), condition, torch.tensor([label])).image for label in (0, 1)]
    assert torch.equal(*drawn)


def test_dropout_acts_in_training_alone(rng: torch.Generator) -> None:
    model = ConditionalUNet("tiny", dropout=0.5)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    inputs = (torch.zeros(1, 1, 32, 48), torch.tensor([3]), torch.randn(1, 2, 32, 48, generator=rng), torch.tensor([0]))
    with torch.no_grad():
        assert not torch.equal(model(*inputs).image, model(*inputs).image)
        model.eval()
        assert torch.equal(model(*inputs).image, model(*inputs).image)


def test_paper_size_attends_at_most_at_53_by_53() -> None:
    """Of 424 x 424: the fourth level and the bottleneck see 53 x 53; the levels above do not attend."""
    model = ConditionalUNet("paper")
    attends = [isinstance(level.attention, SelfAttention) for level in (*model.encoder, model.middle, *model.decoder)]
    assert attends == [False, False, False, True, True, True, False, False, False]


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


def test_a_norm_of_its_own_scale_and_shift_for_each_slice_equals_the_group_norm(rng: torch.Generator) -> None:
    x = torch.randn(3, 4, 6, 5, generator=rng) * 2 + 1
    scale, shift = torch.randn(3, 4, generator=rng), torch.randn(3, 4, generator=rng)
    expected = torch.nn.functional.group_norm(x, 4) * scale[:, :, None, None] + shift[:, :, None, None]
    assert torch.allclose(instance_norm(x, scale, shift), expected, atol=1e-5)
    halved = instance_norm(x.bfloat16(), scale, shift)
    assert torch.allclose(halved.float(), expected, atol=0.1)


def test_doubling_writes_every_position_twice_and_sums_their_gradients() -> None:
    x = torch.tensor([[[[1.0, 2.0]]]], requires_grad=True)
    doubled = double(x)
    assert doubled.tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]
    (doubled * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[[[2 * (1 + 2), 2 * (3 + 4)]]]]


def test_attention_gives_the_same_with_and_without_gradients(rng: torch.Generator) -> None:
    query, key, value = torch.randn(3, 2, 2, 5, 4, generator=rng)
    with torch.no_grad():
        fused = attend(query, key, value)
    assert torch.allclose(attend(query, key, value), fused, atol=1e-6)
