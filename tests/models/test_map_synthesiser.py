"""Laws of the maps' network: what is hidden has no effect, and every subset is a picture of its own."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from common.nets.map_synthesiser import MapCritic, MapSynthesiser

ALL_SUBSETS = [torch.tensor(flags) for flags in product((False, True), repeat=5) if any(flags)]


@pytest.fixture(scope="module")
def model() -> MapSynthesiser:
    torch.manual_seed(0)
    model = MapSynthesiser("tiny", inputs=5).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".modulation." in name:
                parameter.normal_(0, 0.3)
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 5, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_a_hidden_input_cannot_influence_the_output(model: MapSynthesiser, images: torch.Tensor) -> None:
    for available in ALL_SUBSETS:
        changed = torch.where(available[None, :, None, None], images, torch.nan)
        assert torch.equal(model(images, available[None]), model(changed, available[None]))


@torch.no_grad()
def test_all_31_subsets_draw_and_no_two_draw_the_same(model: MapSynthesiser, images: torch.Tensor) -> None:
    drawn = [model(images, available[None]) for available in ALL_SUBSETS]
    assert len(drawn) == 31 and all(one.shape == (1, 1, 32, 48) and one.isfinite().all() for one in drawn)
    assert len({one.numpy().tobytes() for one in drawn}) == 31


@torch.no_grad()
def test_a_missing_sequence_is_not_one_that_is_background_everywhere(model: MapSynthesiser) -> None:
    background = torch.full((1, 5, 32, 48), -1.0)
    there, missing = torch.ones(1, 5, dtype=torch.bool), torch.tensor([[True, True, True, True, False]])
    assert not torch.equal(model(background, there), model(background, missing))


@torch.no_grad()
def test_at_first_what_is_there_changes_no_norm() -> None:
    fresh = MapSynthesiser("tiny", inputs=5)
    background = torch.full((1, 5, 32, 48), -1.0)
    assert torch.equal(fresh(background, torch.ones(1, 5).bool()), fresh(background, torch.zeros(1, 5).bool()))


@torch.no_grad()
def test_a_batch_is_drawn_as_its_rows_one_by_one(model: MapSynthesiser, images: torch.Tensor) -> None:
    batch, available = images.expand(31, -1, -1, -1), torch.stack(ALL_SUBSETS)
    together = model(batch, available)
    for row in range(31):
        assert torch.allclose(together[row], model(batch[row : row + 1], available[row : row + 1])[0], atol=1e-5)


def test_the_critic_has_five_layers_of_the_papers_widths() -> None:
    judged = MapCritic(1)(torch.zeros(2, 1, 64, 80))
    assert [tuple(layer.shape) for layer in judged.features] == [
        *((2, 16, 32, 40), (2, 32, 16, 20), (2, 64, 8, 10), (2, 128, 7, 9)),
    ]
    assert judged.logits.shape == (2, 1, 6, 8)


def test_the_papers_drawer_has_its_widths_and_six_blocks() -> None:
    model = MapSynthesiser("paper", inputs=3)
    weights = [tensor.shape for name, tensor in model.named_parameters() if name.endswith("convolution.weight")]
    assert [shape[0] for shape in weights[:3]] == [16, 32, 64]
    assert len(weights) == 3 + 2 * 6 + 2
    assert model.critic is None
