"""Laws of the synthesis step: what each kind of incomplete case teaches, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.training.conditions import conditions_of
from client.training.filled_inputs import enhancing_label
from client.training.synthesis_step import SynthesisStep, build_step, pixel_weight
from client.training.trainer import NonFiniteLossError, NothingToTrainError
from client.training.workplace import Workplace
from common.nets.embeddings import FILLED, MISSING, REAL
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage, SynthesiserStage
from common.study import Study

T1, T1GD, T2, FLAIR = STRUCTURAL


@pytest.fixture
def open_step(study: Study, generator_model: nn.Module):
    def build(store: CaseStore, **changes) -> SynthesisStep:
        stages = study.stages.model_copy(
            update={"synthesiser": SynthesiserStage(batch_size=4, diffusion_steps=100, learning_rate=0.002, **changes)}
        )
        asked = study.model_copy(update={"stages": stages})
        frozen = {Stage.GENERATOR: generator_model}
        model = build_model(Stage.SYNTHESISER, asked, (), torch.Generator().manual_seed(0))
        return build_step(model, Workplace(asked, (), "a", store, frozen, torch.device("cpu")))

    return build


def test_overfitting_one_batch_lowers_both_losses(open_step, full_store: CaseStore, rng: torch.Generator) -> None:
    step = open_step(full_store)
    batch = step.draw(rng)
    first = step(batch)
    for _ in range(25):
        last = step(batch)
    assert last["synthesis"] < 0.5 * first["synthesis"]
    assert last["segmentation"] < 0.8 * first["segmentation"]


@pytest.mark.parametrize(
    "settings",
    [
        {"prediction": "velocity"},
        {"synthesiser": "flow", "target": "difference", "slices": 3},
        {"synthesiser": "e2e", "conditions": (T2, FLAIR), "condition_dropout": 0.3, "dropout": 0.1},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_family_learns_one_batch(open_step, full_store: CaseStore, rng: torch.Generator, settings) -> None:
    step = open_step(full_store, **settings)
    batch = step.draw(rng)
    first = step(batch)
    for _ in range(10):
        last = step(batch)
    assert last["synthesis"] < 0.9 * first["synthesis"]
    assert last["segmentation"] < 0.9 * first["segmentation"]


def test_equal_generators_draw_equal_batches_and_give_equal_losses(open_step, full_store: CaseStore) -> None:
    losses = []
    for _ in range(2):
        step = open_step(full_store)
        losses.append(step(step.draw(torch.Generator().manual_seed(3))))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("synthesiser", "start"), [("diffusion", 99), ("flow", 0), ("e2e", 0)])
def test_without_t1gd_only_the_auxiliary_decoder_learns(
    open_step, make_case, rng: torch.Generator, synthesiser: str, start: int
) -> None:
    step = open_step(CaseStore([make_case("p", (T1, FLAIR))], STRUCTURAL), synthesiser=synthesiser)
    batch = step.draw(rng)
    assert float(batch.weight.sum()) == 0
    assert batch.t.tolist() == [start] * 4
    assert bool(batch.x_t.any()) == (synthesiser != "e2e")
    before = step.model.out.weight.clone()
    losses = step(batch)
    assert losses["synthesis"] == 0 and losses["segmentation"] > 0
    assert step.model.out.weight.grad is None and torch.equal(step.model.out.weight, before)
    assert step.model.tumour.out.weight.grad is not None and bool(step.model.tumour.out.weight.grad.any())


def test_an_unknown_status_without_full_labels_trains_no_synthesis(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", label_kind=LabelKind.WHOLE, bbb=None)], STRUCTURAL))
    assert step(step.draw(rng))["synthesis"] == 0


def test_without_a_label_an_unknown_status_trains_the_synthesis(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", label_kind=LabelKind.NONE, bbb=None)], STRUCTURAL), use_label=False)
    assert step(step.draw(rng))["synthesis"] > 0
    assert step.model.embedding.label is None


def test_a_difference_and_the_t1_that_is_shown_add_up_to_t1gd(open_step, make_case, rng: torch.Generator) -> None:
    store = CaseStore([make_case("p", (T1GD, T2))], STRUCTURAL)
    step = open_step(store, synthesiser="e2e", target="difference", slices=3, condition_dropout=0.9)
    batch = step.draw(rng)
    assert batch.availability[:, 0].tolist() == [FILLED] * 4
    assert set(batch.availability[:, 1].tolist()) == {FILLED, MISSING}
    real = torch.stack([torch.from_numpy(row.copy()) for row in store.cases[0].slices(T1GD)])
    either = torch.cat([real, real.flip(-2)])[:, None]
    found = (batch.condition[:, 1:2] + batch.asked)[:, None] - either[None]
    assert bool((batch.weight > 0).all())
    assert bool((found.abs().amax((2, 3, 4)).amin(1) < 1e-6).all())


def test_hidden_conditions_are_marked_in_a_batch(open_step, full_store: CaseStore, rng: torch.Generator) -> None:
    batch = open_step(full_store, condition_dropout=0.5).draw(rng)
    hidden = (batch.condition == -1).all((2, 3))
    assert torch.equal(batch.availability, torch.where(hidden, MISSING, REAL))
    assert bool(hidden.any()) and not bool(hidden.all(1).any())


def test_the_label_is_the_status_where_known_and_else_the_enhancing_tumour_of_full_labels(make_case) -> None:
    assert enhancing_label(make_case("a", bbb=False)) == 0
    assert enhancing_label(make_case("b", bbb=None)) == 1
    assert enhancing_label(make_case("c", bbb=None, enhances=False)) == 0
    assert enhancing_label(make_case("d", bbb=None, label_kind=LabelKind.WHOLE)) is None


def test_a_missing_condition_is_filled_but_never_from_t1gd(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", (T1GD, T2))], STRUCTURAL))
    batch = step.draw(rng)
    slices = step.store.draw(1, rng)
    conditions = conditions_of(step.filler, step.store, slices, (T1, FLAIR))
    inside = slices.brain.expand(-1, 2, -1, -1)
    t2 = slices.images[T2].expand(-1, 2, -1, -1)
    assert torch.allclose(conditions.images[inside], t2[inside] - 0.01, atol=1e-3)
    assert bool((conditions.images[~inside] == -1).all())
    assert conditions.availability.tolist() == [[FILLED, FILLED]]
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


def test_a_poisoned_image_is_refused_before_any_weight_moves(
    open_step, full_store: CaseStore, rng: torch.Generator
) -> None:
    step = open_step(full_store)
    batch = step.draw(rng)
    batch.asked[0, 0, 10, 10] = float("nan")
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


def test_the_sum_of_the_losses_does_not_tell_what_rests_on_one_patient(open_step, make_case) -> None:
    cases = [make_case("p"), *(make_case(name, (T1, FLAIR)) for name in ("q", "r"))]
    step = open_step(CaseStore(cases, STRUCTURAL))
    assert step.behind() == {"synthesis": 1, "segmentation": 3, "loss": 1}
    scores = step.evaluate(CaseStore(cases, STRUCTURAL))
    assert {name: score.patients for name, score in scores.items()} == {"synthesis": 1, "segmentation": 3}
    assert open_step(CaseStore(cases[1:], STRUCTURAL)).behind() == {"synthesis": 0, "segmentation": 2, "loss": 2}


def test_a_difference_from_a_t1_that_nobody_can_draw_rests_on_nobody(open_step, make_case, generator_model) -> None:
    store = CaseStore([make_case("p"), make_case("q", (T1GD, FLAIR))], STRUCTURAL)
    assert open_step(store, target="difference").behind()["synthesis"] == 2
    generator_model.domains = tuple(domain for domain in generator_model.domains if domain.sequence is not T1)
    assert open_step(store, target="difference").behind()["synthesis"] == 1
