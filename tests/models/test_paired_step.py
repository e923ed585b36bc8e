"""What the maps' step learns from, what it hides, and which network each loss moves."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.training.accumulation import minimise
from client.training.batches import cut
from client.training.paired_step import PairedStep, _masses, build_step, some_of
from client.training.trainer import NothingToTrainError
from client.training.workplace import Workplace
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage
from common.study import Study, parse_study

T1, T1GD, T2, FLAIR = STRUCTURAL
ADC, CBV = Sequence.ADC, Sequence.CBV
EVERYTHING = (*STRUCTURAL, ADC, CBV)
OBJECTIVES = ("mae", "feature-consistency", "pix2pix")
STUDY = """
name = "toy"
sites = ["a"]
reference_site = "a"
sequences = ["T1", "T1Gd", "T2", "FLAIR", "ADC", "CBV"]
[stages.generator]
[stages.maps]
batch_size = 4
learning_rate = 0.003
"""


def make_study(settings: str = "") -> Study:
    return parse_study(STUDY + settings)


@pytest.fixture
def open_step():
    def build(store: CaseStore, settings: str = "") -> PairedStep:
        study = make_study(settings)
        model = build_model(Stage.MAPS, study, (), torch.Generator().manual_seed(0))
        return build_step(model, Workplace(study, (), "a", store, {}, torch.device("cpu")))

    return build


@pytest.fixture
def store(make_case) -> CaseStore:
    return CaseStore([make_case("p1", EVERYTHING), make_case("p2", EVERYTHING, enhances=False)], EVERYTHING)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_overfitting_one_batch_lowers_the_error(
    open_step, store: CaseStore, rng: torch.Generator, objective: str
) -> None:
    step = open_step(store, f'objective = "{objective}"\nssim_weight = 0.1')
    batch = step.draw(rng)
    first = step(batch)["synthesis"]
    for _ in range(25):
        last = step(batch)["synthesis"]
    assert last < 0.5 * first


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_the_error_where_the_other_weights_are_zero(
    open_step, store: CaseStore, rng: torch.Generator, objective: str
) -> None:
    step = open_step(store, f'objective = "{objective}"\nadversarial_weight = 0.0\nfeature_weight = 0.0')
    losses = step(step.draw(rng))
    assert losses["loss"] == pytest.approx(losses["synthesis"])


def test_each_objective_adds_up_its_weighted_parts(open_step, store: CaseStore, rng: torch.Generator) -> None:
    weights = "adversarial_weight = 0.5\nfeature_weight = 2.0\nssim_weight = 0.25"
    losses = {name: open_step(store, f'objective = "{name}"\n{weights}') for name in OBJECTIVES}
    losses = {name: step(step.draw(rng)) for name, step in losses.items()}
    for name, found in losses.items():
        parts = found["synthesis"] + 0.25 * found["dissimilarity"]
        parts += 0.5 * found.get("adversarial", 0.0) + 2.0 * found.get("features", 0.0)
        assert found["loss"] == pytest.approx(parts, rel=1e-4), name
    assert set(losses["mae"]) == {"loss", "synthesis", "dissimilarity"}
    assert set(losses["pix2pix"]) == {"loss", "synthesis", "dissimilarity", "adversarial", "discriminator"}
    assert set(losses["feature-consistency"]) == {*losses["pix2pix"], "features"}


@pytest.mark.parametrize("objective", ["feature-consistency", "pix2pix"])
def test_the_critics_step_moves_the_critic_alone_and_the_drawers_the_drawer_alone(
    open_step, store: CaseStore, rng: torch.Generator, objective: str
) -> None:
    step = open_step(store, f'objective = "{objective}"')
    batch = step.draw(rng)
    start = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}

    def moved() -> set[str]:
        state = step.model.state_dict()
        return {name.split(".")[0] for name, tensor in state.items() if not torch.equal(tensor, start[name])}

    minimise(step._judged, batch, step.optimisers["critic"])
    assert moved() == {"critic"}
    assert all(parameter.grad is None for parameter in step.model.drawer.parameters())

    start = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    critics = [parameter.grad.clone() for parameter in step.model.critic.parameters()]
    minimise(step._terms, batch, step.optimisers["drawer"])
    assert moved() == {"drawer"}
    assert all(
        torch.equal(before, parameter.grad)
        for before, parameter in zip(critics, step.model.critic.parameters(), strict=True)
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_halves_of_a_batch_give_its_terms_by_their_masses(
    open_step, store: CaseStore, rng: torch.Generator, objective: str
) -> None:
    step = open_step(store, f'objective = "{objective}"\nssim_weight = 0.5\nlesion_weight = 2.0')
    batch = step.draw(rng)
    whole, halves = step._terms(batch), [cut(batch, 0, 1), cut(batch, 1, 4)]
    rows = {"adversarial": (0.25, 0.75), "features": (0.25, 0.75)}
    shares = {name: [_masses(half)[name] / _masses(batch)[name] for half in halves] for name in _masses(batch)} | rows
    for name, term in whole.items():
        parts = sum(share * step._terms(half)[name].value for share, half in zip(shares[name], halves, strict=True))
        assert torch.allclose(parts, term.value, rtol=0.02), name


def test_pix2pix_shows_the_critic_what_the_drawer_saw_and_nothing_more(
    open_step, store: CaseStore, rng: torch.Generator
) -> None:
    step = open_step(store, 'objective = "pix2pix"')
    batch = step.draw(rng)
    seen = step._seen(batch, batch.true)
    assert seen.shape[1] == 6 and torch.equal(seen[:, 5:], batch.true)
    assert (seen[:, :5][~batch.available] == -1).all()
    assert torch.equal(seen[:, :5][batch.available], batch.images[batch.available])


def test_what_is_drawn_outside_the_brain_costs_nothing(open_step, store: CaseStore, rng: torch.Generator) -> None:
    batch = open_step(store, "lesion_weight = 3.0").draw(rng)
    assert (batch.weight[~batch.brain] == 0).all()
    assert set(batch.weight[batch.brain].tolist()) == {1.0, 4.0}


def test_every_subset_of_what_a_case_holds_is_equally_likely_and_none_is_empty(rng: torch.Generator) -> None:
    held = torch.tensor([True, False, True, True, False]).expand(7000, -1)
    seen = Counter(tuple(row) for row in some_of(held, rng).tolist())
    assert len(seen) == 7
    assert not any(row[1] or row[4] for row in seen)
    assert all(900 < count < 1100 for count in seen.values())


def test_missing_inputs_are_marked_and_never_filled(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p", (T1, CBV))], EVERYTHING))
    batch = step.draw(rng)
    assert batch.available.tolist() == [[True, False, False, False, False]] * 4
    assert (batch.images[:, 1:] == -1).all()


def test_a_model_of_one_subset_learns_from_cases_that_hold_all_of_it(open_step, make_case) -> None:
    store = CaseStore([make_case("all", (T1, ADC, CBV)), make_case("some", (T1, CBV))], EVERYTHING)
    both, one = 'inputs = ["T1", "ADC"]', 'inputs = ["T1", "ADC"]\nsubsets = "all-inputs"'
    assert open_step(store, both).patients() == {"shared": 2}
    step = open_step(store, one)
    assert step.patients() == {"shared": 1}
    assert step.draw(torch.Generator().manual_seed(1)).available.all()


@pytest.mark.parametrize("sequences", [EVERYTHING[:-1], (CBV,)])
def test_a_site_without_target_or_without_inputs_sits_the_stage_out(open_step, make_case, sequences) -> None:
    with pytest.raises(NothingToTrainError, match="no case has CBV and any of T1"):
        open_step(CaseStore([make_case("p", sequences)], EVERYTHING))


def test_evaluation_measures_in_the_brain_from_all_that_a_case_holds(open_step, store: CaseStore, make_case) -> None:
    step = open_step(store)
    scores = step.evaluate(store)
    assert set(scores) == {"mae", "ssim", "mae_lesion"}
    unlabelled = make_case("u", (T1, CBV), label_kind=LabelKind.NONE)
    assert set(step.evaluate(CaseStore([unlabelled], EVERYTHING))) == {"mae", "ssim"}
    rarely = step.evaluate(CaseStore([store.cases[0], unlabelled, make_case("v", (T1,))], EVERYTHING))
    assert {name: score.patients for name, score in rarely.items()} == {"mae": 2, "ssim": 2, "mae_lesion": 1}
    assert step.evaluate(CaseStore([make_case("n", (T1,))], EVERYTHING)) == {}


def test_a_repeated_step_gives_the_same_bytes(open_step, store: CaseStore) -> None:
    states = []
    for _ in range(2):
        step = open_step(store, 'objective = "pix2pix"')
        for number in range(3):
            step(step.draw(torch.Generator().manual_seed(number)))
        states.append(step.model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_the_critic_is_built_only_where_the_objective_needs_one() -> None:
    def critic_of(objective: str) -> torch.nn.Module | None:
        study = make_study(f'objective = "{objective}"')
        model = build_model(Stage.MAPS, study, (), torch.Generator().manual_seed(0))
        assert isinstance(model, MapSynthesiser)
        return model.critic

    channels = {name: critic_of(name) for name in OBJECTIVES}
    assert channels["mae"] is None
    assert channels["feature-consistency"].convolutions[0].in_channels == 1
    assert channels["pix2pix"].convolutions[0].in_channels == 6
