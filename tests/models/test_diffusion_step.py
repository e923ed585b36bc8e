"""Laws of the diffusion step: what each kind of incomplete case teaches, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.training.diffusion_step import DiffusionStep, build_step, pixel_weight, weighted_l1
from client.training.filled_inputs import enhancing_label, stack_of
from client.training.trainer import NonFiniteLossError, NothingToTrainError
from common.nets.conditional_unet import ConditionalUNet
from common.sequences import STRUCTURAL, Sequence
from common.study import Stage, Study

T1, T1GD, T2, FLAIR = STRUCTURAL


@pytest.fixture
def open_step(study: Study, generator_model: nn.Module):
    def build(store: CaseStore) -> DiffusionStep:
        torch.manual_seed(0)
        frozen = {Stage.GENERATOR: generator_model}
        return build_step(ConditionalUNet("tiny"), study, (), "a", store, frozen, torch.device("cpu"))

    return build


def test_overfitting_one_batch_lowers_both_losses(open_step, full_store: CaseStore, rng: torch.Generator) -> None:
    step = open_step(full_store)
    batch = step.draw(rng)
    first = step(batch)
    for _ in range(25):
        last = step(batch)
    assert last["synthesis"] < 0.5 * first["synthesis"]
    assert last["segmentation"] < 0.8 * first["segmentation"]


def test_equal_generators_draw_equal_batches_and_give_equal_losses(open_step, full_store: CaseStore) -> None:
    losses = []
    for _ in range(2):
        step = open_step(full_store)
        losses.append(step(step.draw(torch.Generator().manual_seed(3))))
    assert losses[0] == losses[1]


def test_without_t1gd_only_the_auxiliary_decoder_learns(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", (T1, FLAIR))], STRUCTURAL))
    batch = step.draw(rng)
    assert float(batch.weight.sum()) == 0
    assert batch.t.tolist() == [99] * 4
    before = step.model.out.weight.clone()
    losses = step(batch)
    assert losses["synthesis"] == 0 and losses["segmentation"] > 0
    assert step.model.out.weight.grad is None and torch.equal(step.model.out.weight, before)


def test_an_unknown_status_without_full_labels_trains_no_synthesis(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", label_kind=LabelKind.WHOLE, bbb=None)], STRUCTURAL))
    assert step(step.draw(rng))["synthesis"] == 0


def test_the_label_is_the_status_where_known_and_else_the_enhancing_tumour_of_full_labels(make_case) -> None:
    assert enhancing_label(make_case("a", bbb=False)) == 0
    assert enhancing_label(make_case("b", bbb=None)) == 1
    assert enhancing_label(make_case("c", bbb=None, enhances=False)) == 0
    assert enhancing_label(make_case("d", bbb=None, label_kind=LabelKind.WHOLE)) is None


def test_a_missing_condition_is_filled_but_never_from_t1gd(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", (T1GD, T2))], STRUCTURAL))
    batch = step.draw(rng)
    slices = step.store.draw(1, rng)
    condition = stack_of(step.filler.fill_condition(step.store, slices), (T1, FLAIR))
    inside = slices.brain.expand(-1, 2, -1, -1)
    t2 = slices.images[T2].expand(-1, 2, -1, -1)
    assert torch.allclose(condition[inside], t2[inside] - 0.01, atol=1e-3)
    assert bool((condition[~inside] == -1).all())
    assert batch.condition.shape == (4, 2, 32, 48)


def test_a_site_that_has_t1gd_alone_sits_the_stage_out(open_step, make_case) -> None:
    with pytest.raises(NothingToTrainError) as caught:
        open_step(CaseStore([make_case("p", (T1GD,))], STRUCTURAL))
    assert caught.value.code == "nothing-to-train"


def test_the_lesion_weighs_more_where_the_label_flip_acts(full_store: CaseStore) -> None:
    slices = full_store.take([(0, 1)])
    weight = pixel_weight(slices, 5.0)[0, 0]
    assert weight[13, 15].item() == 6.0  # core
    assert weight[9, 11].item() == 1.0  # oedema
    assert weight[0, 0].item() == pytest.approx(0.1)  # background


def test_the_weighted_error_is_a_weighted_mean() -> None:
    error = weighted_l1(torch.tensor([1.0, 3.0]), torch.zeros(2), torch.tensor([1.0, 3.0]))
    assert float(error) == pytest.approx(2.5)


def test_a_poisoned_image_is_refused_before_any_weight_moves(
    open_step, full_store: CaseStore, rng: torch.Generator
) -> None:
    step = open_step(full_store)
    batch = step.draw(rng)
    batch.image[0, 0, 10, 10] = float("nan")
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    with pytest.raises(NonFiniteLossError):
        step(batch)
    assert all(torch.equal(before[name], tensor) for name, tensor in step.model.state_dict().items())


def test_evaluation_is_repeatable_and_empty_without_cases(open_step, full_store: CaseStore) -> None:
    step = open_step(full_store)
    scores = step.evaluate(full_store)
    assert scores == step.evaluate(full_store)
    assert set(scores) == {"synthesis", "segmentation"}
    assert step.evaluate(CaseStore([], STRUCTURAL)) == {}


def test_only_patients_that_teach_something_are_counted(open_step, make_case) -> None:
    cases = [make_case("p"), make_case("q", (T1GD,)), make_case("r", (Sequence.T2,))]
    assert open_step(CaseStore(cases, STRUCTURAL)).patients() == {"shared": 2}
