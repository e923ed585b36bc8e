"""Laws of the UMMGAT networks and of the adversarial game."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from common.generative.adversarial import discriminator_loss, diversity_loss, generator_loss, r1_penalty
from common.nets.blocks import AdaIN, PatchExpanding, PatchMerging, WindowAttention
from common.nets.first_weights import initialise
from common.nets.generator import KNOTS, DetailHead, GreyHats, SourceHistogram, make_generator
from common.nets.trunks import make_trunk
from common.nets.ummgat import Ummgat
from common.parameters import by_group
from common.sequences import STRUCTURAL, Domain, Sequence, with_twins

STARGAN_V2 = {"encoder": 20.9, "discriminator": 20.7}
"""Millions of values."""


def small_ummgat(sites: tuple[str, ...] = ("a", "b")) -> Ummgat:
    domains = with_twins(tuple(Domain(site, s) for site in sites for s in (Sequence.T1, Sequence.T2)))
    model = Ummgat(domains, "tiny")
    initialise(model, torch.Generator().manual_seed(3), "uniform")
    return model


def test_adain_at_zero_affine_is_instance_norm():
    norm = AdaIN(4, 3)
    torch.nn.init.zeros_(norm.affine.weight)
    torch.nn.init.zeros_(norm.affine.bias)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x, torch.ones(2, 3)), F.instance_norm(x))


def test_an_untrained_generator_copies_its_input():
    model = small_ummgat()
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(model.translate(image, Domain("b", Sequence.T2)), image)


def test_hats_share_every_grey_between_its_two_nearest_knots():
    image = torch.linspace(-1, 1, 400).view(1, 1, 20, 20)
    hats, knots = GreyHats()(image), torch.linspace(-1, 1, KNOTS)
    torch.testing.assert_close(hats.sum(1), torch.ones(1, 20, 20))
    torch.testing.assert_close((hats * knots.view(1, -1, 1, 1)).sum(1), image[:, 0])
    assert int((hats > 0).sum(1).max()) == 2


def test_the_sources_code_does_not_see_background():
    generator = torch.Generator().manual_seed(0)
    source, hats, style = SourceHistogram(8), GreyHats(), torch.randn(2, 8, generator=generator)
    image = torch.rand(2, 1, 16, 16, generator=generator) * 1.8 - 0.9
    wider = F.pad(image, (4, 4, 4, 4), value=-1.0)
    torch.testing.assert_close(source(hats(image), image, style), source(hats(wider), wider, style))
    assert not torch.allclose(source(hats(image), image, style), source(hats(-image), -image, style))


def test_one_curve_for_all_pixels_inverts_the_contrast():
    side = 4
    head = DetailHead(6, side, 16, 8)
    with torch.no_grad():
        head.curve.bias.copy_((-2 * torch.linspace(-1, 1, KNOTS)).repeat_interleave(side**2))
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    change = head(torch.zeros(2, 6, 16 // side, 16 // side), image, GreyHats()(image), torch.zeros(2, 8))
    torch.testing.assert_close(image + change, -image)


@pytest.mark.parametrize("backbone", ["swin", "convnext"])
@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_slices_whose_sides_the_levels_do_not_divide_are_padded_with_background(backbone: str, size: str):
    generator = make_generator(backbone, size, 8).eval()
    torch.nn.init.normal_(generator.head.draw.weight, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 1, 48, 80, generator=torch.Generator().manual_seed(1)) * 2 - 1
    side = generator.backbone.multiple
    whole = F.pad(image, (0, -80 % side, 0, -48 % side), value=-1.0)
    with torch.no_grad():
        drawn, expected = (generator(each, torch.ones(1, 8)) for each in (image, whole))
    assert drawn.shape == image.shape
    torch.testing.assert_close(drawn, expected[:, :, :48, :80])


def test_attention_does_not_cross_windows():
    attention = WindowAttention(8, 2, window=4, shifted=False)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    attention(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(0) > 0
    assert reached[:4, :4].all()
    assert reached.sum() == 16


def test_shifted_attention_does_not_wrap_round_the_border():
    attention = WindowAttention(8, 2, window=4, shifted=True)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    attention(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    strength = x.grad[0].abs().sum(0)
    assert (strength[:2, :2] > 0).all()
    assert strength[4:, :].max() < 1e-6 * strength[:2, :2].min()


def test_padding_of_an_odd_map_changes_nothing_inside():
    attention = WindowAttention(8, 2, window=4, shifted=False)
    x = torch.randn(1, 8, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(attention(x)[..., :4], attention(x[..., :4]))


def test_merging_and_expanding_keep_the_number_of_pixels():
    x = torch.randn(1, 6, 8, 12)
    y = PatchMerging(6, 10)(x)
    assert y.shape == (1, 10, 4, 6)
    assert PatchExpanding(10, 6)(y).shape == x.shape


def test_r1_of_a_linear_discriminator_is_half_its_squared_weights():
    weight = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    real = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = (real[:, 0] * weight).sum((1, 2))
    assert math.isclose(float(r1_penalty(logits, real)), 0.5 * (1 + 4 + 9 + 0.25), rel_tol=1e-6)


def test_at_chance_both_sides_of_the_game_pay_log_two():
    logits = torch.zeros(4)
    assert math.isclose(float(discriminator_loss(logits, logits)), 2 * math.log(2), rel_tol=1e-6)
    assert math.isclose(float(generator_loss(logits)), math.log(2), rel_tol=1e-6)


def test_diversity_rewards_the_distance_inside_the_brain():
    one, other = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.5, -0.5], [9.0, 9.0]]]])
    brain = torch.tensor([[[[True, True], [False, False]]]])
    assert math.isclose(float(diversity_loss(one, other, brain)), -0.5, rel_tol=1e-6)


def test_descending_on_diversity_drives_two_drawings_apart():
    drawn, other = torch.full((1, 1, 4, 4), 0.1, requires_grad=True), torch.zeros(1, 1, 4, 4)
    brain = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    diversity_loss(drawn, other, brain).backward()
    assert ((drawn - drawn.grad - other).abs() > (drawn - other).abs()).all()


def test_he_weights_have_variance_two_over_fan_in_and_no_bias():
    model = small_ummgat()
    initialise(model, torch.Generator().manual_seed(3), "he")
    weight, bias = model.encoder.mix.weight.detach(), model.encoder.mix.bias
    assert math.isclose(float(weight.var()), 2 / weight.shape[1], rel_tol=0.05)
    assert not bias.any()


@pytest.mark.parametrize("law", ["he", "uniform"])
def test_output_layers_stay_zero_under_either_law(law: str):
    model = small_ummgat()
    initialise(model, torch.Generator().manual_seed(3), law)
    assert not model.generator.head.draw.weight.any() and not model.generator.head.curve.weight.any()


@pytest.mark.parametrize("backbone", ["swin", "convnext"])
def test_at_paper_size_every_level_hears_the_style(backbone: str):
    unet = make_generator(backbone, "paper", 8).backbone
    for level in (*unet.encode, *unet.decode):
        assert any(isinstance(module, AdaIN) for module in level.modules())
        assert not any(isinstance(module, torch.nn.InstanceNorm2d) for module in level.modules())


@pytest.mark.parametrize(
    ("backbone", "part", "published"),
    [("swin", "generator", 33.6), ("convnext", "generator", 33.6), *(("swin", *one) for one in STARGAN_V2.items())],
)
def test_at_paper_size_the_networks_are_as_large_as_stargan_v2s(backbone: str, part: str, published: float):
    domains = with_twins(tuple(Domain("a", sequence) for sequence in STRUCTURAL))
    with torch.device("meta"):
        model = Ummgat(domains, "paper", backbone)
    count = sum(parameter.numel() for parameter in getattr(model, part).parameters())
    assert abs(count / 1e6 / published - 1) < 0.12


def test_a_slice_of_the_papers_size_divides_into_windows_on_every_swin_level():
    assert (176 + -176 % make_generator("swin", "paper", 8).backbone.multiple) == 192
    assert [192 // 2**level % 6 for level in (2, 3, 4, 5)] == [0, 0, 0, 0]


@pytest.mark.parametrize("backbone", ["swin", "convnext"])
def test_both_backbones_draw_by_label_and_by_reference(backbone: str):
    model = Ummgat(small_ummgat().domains, "tiny", backbone)
    initialise(model, torch.Generator().manual_seed(3), "uniform")
    torch.nn.init.normal_(model.generator.head.draw.weight, generator=torch.Generator().manual_seed(1))
    image, reference = torch.rand(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target = Domain("b", Sequence.T2)
    number = torch.full((2,), model.number(target))
    by_label, by_picture = model.translate(image, target), model.translate(image, target, reference)
    typical = model.mapper(torch.zeros(2, model.mapper.latent_size), number)
    assert torch.equal(by_label, model.generator(image, typical).clamp(-1, 1))
    assert torch.equal(by_picture, model.generator(image, model.encoder(reference, number)).clamp(-1, 1))
    assert not torch.equal(by_label, by_picture)
    assert not torch.equal(by_picture, model.translate(image, target, -reference))


def test_residual_trunks_take_slices_of_any_size():
    trunk = make_trunk((4, 8, 8, 8, 8, 8, 8), residual=True)
    for sides in ((32, 32), (64, 80), (45, 51)):
        assert trunk(torch.zeros(1, 1, *sides)).shape[:2] == (1, 8)


def test_heads_belong_to_their_domains_and_the_rest_is_shared():
    groups = by_group(small_ummgat().state_dict())
    assert set(groups) == {"shared"} | {
        f"domain/{site}:{s}{twin}" for site in "ab" for s in ("T1", "T2") for twin in ("", ":lesion")
    }
    assert len(groups["domain/a:T1"]) == 6


def test_a_site_added_later_leaves_the_other_domains_as_they_were():
    small, large = small_ummgat(("a",)), small_ummgat(("a", "b"))
    torch.nn.init.normal_(small.generator.head.draw.weight, generator=torch.Generator().manual_seed(1))
    large.load_state_dict(small.state_dict(), strict=False)
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target = Domain("a", Sequence.T2)
    assert torch.equal(small.translate(image, target), large.translate(image, target))
    assert not torch.equal(small.translate(image, target), image)


def test_the_same_generator_seed_gives_the_same_weights():
    first, second = small_ummgat().state_dict(), small_ummgat().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
