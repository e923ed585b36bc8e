"""Laws of completed patches: whole sequences are hidden and filled, and what is cut out lies where it lay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.training import patch_inputs
from client.training.filled_inputs import Filler
from client.training.patch_inputs import PatchInputs
from client.training.segmentation_step import SegmentationStep, build_step
from client.training.workplace import Workplace
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import Study, parse_study

T1, T1GD, T2, FLAIR = range(4)
WINDOW = (8, 16, 24)  # a toy volume has 4 slices of 32 x 48


def upright(count: int, aspect: float, generator: torch.Generator) -> Tensor:
    return torch.eye(2, 3).repeat(count, 1, 1)


@pytest.fixture
def inputs(full_store: CaseStore, generator_model: nn.Module):
    def build(hidden: float = 0.0, axes: tuple[int, ...] = ()) -> PatchInputs:
        return PatchInputs(full_store, Filler(generator_model, "a", "a"), WINDOW, 1.0, hidden, axes)  # type: ignore[arg-type]

    return build


def test_a_patch_that_is_not_turned_is_what_was_cut_out(
    inputs, full_store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_inputs, "draw_maps", upright)
    drawn = inputs().draw(6, torch.Generator().manual_seed(1))
    places = inputs().places.draw(6, torch.Generator().manual_seed(1), lambda case: True)
    assert drawn.inputs.shape == (6, 4, *WINDOW) and drawn.labels.shape == (6, *WINDOW)
    for row, place in enumerate(places):
        case, (_, h, w) = full_store.cases[place.case], place.first
        window = (slice(0, 4), slice(h, h + 16), slice(w, w + 24))
        assert torch.equal(drawn.labels[row, :4], torch.tensor(case.labels()[window]))
        expected = torch.stack([torch.tensor(case.slices(name)[window]) for name in STRUCTURAL])
        torch.testing.assert_close(drawn.inputs[row, :, :4], expected, atol=1e-5, rtol=0)


def test_a_volume_that_is_too_short_ends_in_background_without_tumour(inputs, rng: torch.Generator) -> None:
    drawn = inputs().draw(4, rng)
    assert bool((drawn.inputs[:, :, 4:] == -1).all()) and not bool(drawn.labels[:, 4:].any())
    assert bool((drawn.inputs[:, :, :4] > -1).any())


def test_a_patch_loses_a_sequence_as_a_whole(inputs, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator) -> None:
    monkeypatch.setattr(patch_inputs, "draw_maps", upright)
    drawn = inputs(hidden=1.0).draw(32, rng)
    inside = drawn.inputs[:, T2] > -1
    # the toy generator's fill of FLAIR is its source minus 0.01, here T2 where that is still there
    filled = ((drawn.inputs[:, FLAIR] - drawn.inputs[:, T2] + 0.01).abs() < 2e-3) | ~inside
    share = filled.flatten(1).float().mean(1)
    assert bool(((share > 0.999) | (share < 0.6)).all())
    assert float((share > 0.999).float().mean()) > 0.5


def test_mirroring_goes_along_all_three_axes_images_and_labels_together(
    inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_inputs, "draw_maps", upright)
    plain = inputs().draw(24, torch.Generator().manual_seed(2))
    drawn = inputs(axes=(-3, -2, -1)).draw(24, torch.Generator().manual_seed(2))
    seen = set()
    for row in range(24):
        ways = [
            axes
            for axes in ((), (-3,), (-2,), (-1,), (-3, -2), (-3, -1), (-2, -1), (-3, -2, -1))
            if torch.equal(drawn.inputs[row], plain.inputs[row].flip(axes))
        ]
        assert len(ways) == 1 and torch.equal(drawn.labels[row], plain.labels[row].flip(ways[0]))
        seen.add(ways[0])
    assert len(seen) > 4


def test_turned_patches_keep_images_and_labels_on_each_other(inputs, rng: torch.Generator) -> None:
    drawn = inputs().draw(8, rng)
    bright, labelled = drawn.inputs[:, FLAIR] > 0.3, drawn.labels > 0
    assert int((bright ^ labelled).sum()) < 0.15 * int(labelled.sum())
    assert set(drawn.labels.unique().tolist()) <= {0, 1, 2, 4}


STUDY = """
name = "toy"
sites = ["a"]
reference_site = "a"
[stages.generator]
[stages.segmenter]
batch_size = 2
learning_rate = 0.01
dimensions = 3
patch = [16, 24, 8]
"""


@pytest.fixture
def step(full_store: CaseStore, generator_model: nn.Module) -> SegmentationStep:
    study: Study = parse_study(STUDY)
    model = build_model(Stage.SEGMENTER, study, (), torch.Generator().manual_seed(0))
    return build_step(
        model, Workplace(study, (), "a", full_store, {Stage.GENERATOR: generator_model}, torch.device("cpu"))
    )


def test_overfitting_one_batch_of_patches_lowers_the_loss(step: SegmentationStep, rng: torch.Generator) -> None:
    batch = step.draw(rng)
    first = step(batch)["loss"]
    for _ in range(20):
        last = step(batch)["loss"]
    assert last < 0.6 * first


def test_a_step_draws_everything_from_its_generator(step: SegmentationStep) -> None:
    first, again, other = (step.draw(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.targets.masks, again.targets.masks)
    assert not torch.equal(first.inputs, other.inputs)


def test_evaluation_of_patches_tells_loss_and_dice(step: SegmentationStep, full_store: CaseStore) -> None:
    step.model.eval()
    scores = step.evaluate(full_store)
    assert set(scores) == {"loss", "dice_wt", "dice_tc", "dice_et"} and scores == step.evaluate(full_store)
    assert step.evaluate(CaseStore([], STRUCTURAL)) == {}
