"""Laws of the segmentation step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.training.filled_inputs import stack_of
from client.training.segmentation_inputs import hide
from client.training.segmentation_step import SegmentationStep, build_step
from client.training.trainer import NothingToTrainError
from client.training.workplace import Workplace
from common.nets.segmenter import Segmenter
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import Study

T1, T1GD, T2, FLAIR = STRUCTURAL


@pytest.fixture
def open_step(study: Study, generator_model: nn.Module):
    def build(store: CaseStore) -> SegmentationStep:
        torch.manual_seed(0)
        frozen = {Stage.GENERATOR: generator_model}
        return build_step(Segmenter("tiny"), Workplace(study, (), "a", store, frozen, torch.device("cpu")))

    return build


def test_overfitting_one_batch_lowers_the_loss(open_step, full_store: CaseStore, rng: torch.Generator) -> None:
    step = open_step(full_store)
    batch = step.draw(rng)
    first = step(batch)["loss"]
    for _ in range(25):
        last = step(batch)["loss"]
    assert last < 0.6 * first


def test_missing_sequences_are_filled_in_structural_order(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", (T1, FLAIR))], STRUCTURAL))
    slices = step.store.draw(2, rng)
    inputs = stack_of(step.inputs.filler.fill(step.store, slices, slices.present, STRUCTURAL), STRUCTURAL)
    inside = slices.brain
    assert torch.equal(inputs[:, :1], slices.images[T1]) and torch.equal(inputs[:, 3:], slices.images[FLAIR])
    assert torch.allclose(inputs[:, 1:2][inside], slices.images[T1][inside] - 0.01, atol=1e-3)  # T1Gd from T1
    assert torch.allclose(inputs[:, 2:3][inside], slices.images[FLAIR][inside] - 0.01, atol=1e-3)  # T2 from FLAIR


def test_hiding_leaves_at_least_one_real_sequence_and_never_invents_one(rng: torch.Generator) -> None:
    rows = 2000
    present = {sequence: torch.ones(rows, dtype=torch.bool) for sequence in STRUCTURAL}
    present[T2][:] = False
    hidden = hide(present, 0.8, rng)
    visible = torch.stack(list(hidden.values()))
    assert not bool(visible[2].any())
    assert visible.any(0).all()
    assert float(hidden[FLAIR].float().mean()) == pytest.approx(0.2 + 0.8 * 0.2**2, abs=0.03)
    assert float(hidden[T1].float().mean()) == pytest.approx(0.8 + 0.2 * 0.2 * 0.8, abs=0.03)
    kept = hide(present, 0.0, rng)
    assert all(torch.equal(kept[sequence], present[sequence]) for sequence in STRUCTURAL)


def test_a_whole_tumour_roi_leaves_the_other_channels_without_gradient(
    open_step, make_case, rng: torch.Generator
) -> None:
    step = open_step(CaseStore([make_case("p", label_kind=LabelKind.WHOLE)], STRUCTURAL))
    step(step.draw(rng))
    whole, core, enhancing = step.model.net.outputs[0].conv.conv.bias.grad.view(3, -1)  # one row a channel
    assert (whole != 0).all() and (core == 0).all() and (enhancing == 0).all()


def test_a_site_without_labels_sits_the_stage_out(open_step, make_case) -> None:
    with pytest.raises(NothingToTrainError):
        open_step(CaseStore([make_case("p", label_kind=LabelKind.NONE)], STRUCTURAL))


def test_evaluation_tells_loss_and_dice_of_known_channels(open_step, full_store: CaseStore, make_case) -> None:
    step = open_step(full_store)
    scores = step.evaluate(full_store)
    assert set(scores) == {"loss", "dice_wt", "dice_tc", "dice_et"}
    whole = make_case("w", label_kind=LabelKind.WHOLE)
    assert set(step.evaluate(CaseStore([whole], STRUCTURAL))) == {"loss", "dice_wt"}
    three = step.evaluate(CaseStore([*full_store.cases, whole], STRUCTURAL))
    assert {name: score.patients for name, score in three.items()} == {
        "loss": 3, "dice_wt": 3, "dice_tc": 2, "dice_et": 1
    }  # fmt: skip
    assert step.evaluate(CaseStore([], STRUCTURAL)) == {}
    assert step.patients() == {"shared": 2}
