"""Laws of the segmenter's plan and network."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from common.nets.deep_unet import DeepUNet
from common.nets.segmenter import Segmenter, _smooth
from common.nets.segmenter_plan import Reading, UNetPlan, even_plan, patch_problem, plan_levels, plan_patch

GRID = ((64, 80), (2.4, 2.4, 4.0))


def test_an_even_patch_is_halved_on_every_axis_until_four_positions_remain() -> None:
    plan = plan_levels((32, 32, 32), (1, 1, 1), 6)
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert set(plan.kernels) == {(3, 3, 3)}
    assert plan.multiple == (8, 8, 8)


def test_thick_slices_are_neither_mixed_nor_halved_before_the_plane_is_as_coarse() -> None:
    plan = plan_levels((16, 64, 64), (5, 1, 1), 5)
    assert plan.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))


def test_an_axis_that_could_go_on_alone_needs_twelve_positions() -> None:
    assert len(plan_levels((4, 4, 8), (1, 1, 1), 5).strides) == 1
    assert plan_levels((4, 4, 16), (1, 1, 1), 5).strides == ((1, 1, 1), (1, 1, 2))


def test_no_more_levels_than_asked_for() -> None:
    assert len(plan_levels((128, 128, 128), (1, 1, 1), 3).strides) == 3


def test_a_patch_that_fits_is_fine_and_one_that_does_not_is_told_the_next_that_does() -> None:
    assert patch_problem("tiny", (64, 80, 16), *GRID) is None
    assert "18 voxels to the head cannot be halved" in str(patch_problem("tiny", (64, 80, 18), *GRID))
    assert str(patch_problem("tiny", (50, 80, 16), *GRID)).endswith("48 can")
    assert "more than the grid's 64" in str(patch_problem("tiny", (80, 80, 16), *GRID))


def test_the_unet_is_monais_with_each_tensor_under_one_name(rng: torch.Generator) -> None:
    filters = (4, 6, 8, 10)
    net = DeepUNet(2, 3, filters, even_plan(4), 2).eval()
    deep = {"deep_supervision": True, "deep_supr_num": 1}
    norm = ("instance", {"affine": True})
    theirs = DynUNet(2, 2, 3, [3] * 4, [1, 2, 2, 2], [2] * 3, list(filters), norm_name=norm, **deep)
    blocks = [theirs.input_block, *theirs.downsamples, theirs.bottleneck]
    for block, ours in zip(blocks, net.down, strict=True):
        block.load_state_dict(ours.state_dict())
    theirs.upsamples.load_state_dict(net.up.state_dict())
    theirs.output_block.load_state_dict(net.outputs[0].state_dict())
    theirs.deep_supervision_heads[0].load_state_dict(net.outputs[1].state_dict())
    x = torch.randn(2, 2, 32, 48, generator=rng)
    with torch.no_grad():
        fine, coarse = net(x, 2)
        expected = theirs.train()(x)
    torch.testing.assert_close(fine, expected[:, 0])
    torch.testing.assert_close(coarse.repeat_interleave(2, -1).repeat_interleave(2, -2), expected[:, 1])
    assert len(net.state_dict()) == len(list(net.parameters())) == len({t.data_ptr() for t in net.parameters()})


@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_slices_need_not_be_halved_evenly(size: str) -> None:
    model = Segmenter(size, deep_supervision=True).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        assert model(torch.zeros(1, 4, 48, 80)).shape == (1, 3, 48, 80)
        assert [tuple(level.shape[2:]) for level in model.supervised(torch.zeros(1, 4, 48, 80))][:2] == [
            (48, 80),
            (24, 40),
        ]


def test_a_patch_comes_back_at_its_own_size_and_coarser(rng: torch.Generator) -> None:
    model = Segmenter("tiny", plan_patch("tiny", (16, 64, 80), (4.0, 2.4, 2.4)), deep_supervision=True).eval()
    with torch.no_grad():
        fine, coarse = model.supervised(torch.randn(1, 4, 16, 64, 80, generator=rng))
        assert model(torch.randn(2, 4, 10, 20, 30, generator=rng)).shape == (2, 3, 10, 20, 30)
    assert fine.shape == (1, 3, 16, 64, 80) and coarse.shape == (1, 3, 8, 32, 40)


def test_without_deep_supervision_the_finest_level_alone_is_supervised_and_no_other_has_an_output() -> None:
    plain, deep = Segmenter("tiny"), Segmenter("tiny", deep_supervision=True)
    assert (plain.levels, deep.levels) == (1, 2)
    extra = set(deep.state_dict()) - set(plain.state_dict())
    assert {name.split(".")[1] for name in extra} == {"outputs"}


def on_a_torus(model: nn.Module) -> nn.Module:
    """Let every convolution see the opposite border instead of zeros."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.padding_mode = "circular"
    return model


def test_a_volume_moved_by_the_strides_gives_the_moved_tumour(rng: torch.Generator) -> None:
    plan = UNetPlan(((1, 1, 1), (1, 2, 2), (2, 2, 2)), ((1, 3, 3), (3, 3, 3), (3, 3, 3)))
    model = on_a_torus(Segmenter("paper", plan)).eval()
    x = torch.randn(1, 4, 8, 16, 16, generator=rng)
    with torch.no_grad():
        for shift in ((2, 0, 0), (0, 4, 0), (-2, 4, 8)):
            moved = model(x.roll(shift, (2, 3, 4)))
            torch.testing.assert_close(moved, model(x).roll(shift, (2, 3, 4)), atol=1e-4, rtol=1e-4)


def test_smoothing_removes_what_alternates_and_keeps_what_does_not(rng: torch.Generator) -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(10), indexing="ij")
    for comb in (rows % 2, columns % 2, (rows + columns) % 2):
        x = 2.0 * comb[None, None] - 1
        assert float(_smooth(x)[..., 1:-1, 1:-1].abs().max()) < 1e-6
    ramp = (rows + 2.0 * columns)[None, None]
    torch.testing.assert_close(_smooth(ramp)[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1])


def test_a_segmenter_says_how_it_reads_a_volume() -> None:
    assert Segmenter("tiny").reading == Reading(None, 0.5, ())
