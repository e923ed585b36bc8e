"""Laws of validation: who is kept out of training, what is counted, and that the sites' means are the pooled ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.training.calibration_step import CalibrationStep, count_case
from client.training.drawn_hypotheses import HypothesisDrawer
from client.training.tasks import step_builder
from client.training.trainer import NothingToTrainError
from client.training.validation import training_part, validation_part, validation_patients
from client.training.workplace import Workplace
from common.metrics.operating_point import TABLE_SHAPE, best_operating_point
from common.metrics.platt import BINS
from common.nets.stage_models import build_model
from common.nets.validation_table import ValidationTable
from common.parameters import STATISTICS, group_of
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import IdentifierStage, Stage
from common.study import Study
from server.aggregation.weighted import WeightedMean


def validated(study: Study, fraction: float = 0.25, minimum: int = 1) -> Study:
    identifier = IdentifierStage(validation_fraction=fraction)
    stages = study.stages.model_copy(update={"identifier": identifier})
    reporting = study.reporting.model_copy(update={"minimum_count": minimum})
    return study.model_copy(update={"stages": stages, "reporting": reporting})


@pytest.fixture
def store(make_case) -> CaseStore:
    """Four patients of each status."""
    cases = [make_case(f"p{number}", bbb=number % 2 == 0, enhances=number % 2 == 0) for number in range(8)]
    return CaseStore(cases, STRUCTURAL)


def test_the_study_s_share_of_either_status_is_kept_and_the_rest_trains(study: Study, store: CaseStore) -> None:
    asked = validated(study)
    kept = validation_patients(store, asked)
    assert sorted(int(name[1]) % 2 for name in kept) == [0, 1]
    trained = {case.patient for case in training_part(store, asked).cases}
    assert {case.patient for case in validation_part(store, asked).cases} == kept
    assert not trained & kept and len(trained | kept) == 8


def test_the_same_patients_are_kept_on_every_run(study: Study, store: CaseStore) -> None:
    turned = CaseStore(tuple(reversed(store.cases)), STRUCTURAL)
    assert validation_patients(turned, validated(study)) == validation_patients(store, validated(study))


def test_patients_too_few_to_be_counted_are_trained_on(study: Study, store: CaseStore) -> None:
    assert validation_patients(store, validated(study, minimum=3)) == frozenset()
    assert validation_patients(store, validated(study, fraction=0.0)) == frozenset()
    assert training_part(store, validated(study, minimum=3)) is store


def test_nobody_is_kept_where_one_status_has_too_few_to_be_counted(study: Study, make_case) -> None:
    def site(disrupted: int, intact: int) -> CaseStore:
        cases = [make_case(f"d{number}", (Sequence.T1,), bbb=True) for number in range(disrupted)]
        return CaseStore(
            cases + [make_case(f"i{number}", (Sequence.T1,), bbb=False) for number in range(intact)], STRUCTURAL
        )

    asked = validated(study, fraction=0.5, minimum=2)
    kept = {(d, i): len(validation_patients(site(d, i), asked)) for d, i in ((4, 4), (8, 2), (8, 0), (8, 1))}
    assert kept == {(4, 4): 4, (8, 2): 0, (8, 0): 4, (8, 1): 4}


@pytest.mark.parametrize("stage", [Stage.SYNTHESISER, Stage.SEGMENTER])
def test_what_draws_and_segments_for_the_identifier_does_not_train_on_its_validation_patients(
    study: Study, store: CaseStore, generator_model: nn.Module, stage: Stage
) -> None:
    def trained_on(asked: Study) -> set[str]:
        model = build_model(stage, asked, (), torch.Generator().manual_seed(0))
        frozen = {Stage.GENERATOR: generator_model}
        step = step_builder(stage)(model, Workplace(asked, (), "a", store, frozen, torch.device("cpu")))
        return {case.patient for case in step.store.cases}

    everybody = {case.patient for case in store.cases}
    assert trained_on(validated(study)) == everybody - validation_patients(store, validated(study)) < everybody
    assert trained_on(validated(study, fraction=0.0)) == everybody


class BrightIsTrue(nn.Module):
    """Finds a hypothesis the more consistent the brighter its T1Gd is."""

    def forward(self, x: Tensor) -> Tensor:
        return 4 * x[:, 2].mean((1, 2))


def open_step(store: CaseStore, windows: dict[str, np.ndarray], monkeypatch) -> CalibrationStep:
    """A step whose drawings are given, by patient."""
    monkeypatch.setattr(HypothesisDrawer, "digest", lambda self: "0" * 16)
    monkeypatch.setattr(HypothesisDrawer, "draw", lambda self, store, index: windows[store.cases[index].patient])
    drawer = HypothesisDrawer(None, nn.Identity(), nn.Identity(), None, 0)
    return CalibrationStep(ValidationTable(), store, drawer, BrightIsTrue(), torch.device("cpu"), contrastive=True)


def drawn(plus: float, minus: float, slices: int = 3) -> np.ndarray:
    windows = np.zeros((4, slices, 4, 4), np.float32)
    windows[2], windows[3] = plus, minus
    return windows


def table_of(store: CaseStore, windows: dict[str, np.ndarray], monkeypatch) -> dict[str, Tensor]:
    step = open_step(store, windows, monkeypatch)
    assert step(step.draw(torch.Generator())) == {}
    return step.model.state_dict()


def weighted_mean(parts: list[tuple[int, Tensor]]) -> Tensor:
    mean = WeightedMean()
    for weight, tensor in parts:
        mean.add(weight, tensor)
    return mean.value()


def test_means_over_sites_weighted_by_patients_are_those_of_pooled_patients(store: CaseStore, monkeypatch) -> None:
    chance = np.random.default_rng(0)
    windows = {case.patient: drawn(*chance.uniform(-0.5, 0.5, 2)) for case in store.cases}
    parts = [CaseStore(store.cases[:3], STRUCTURAL), CaseStore(store.cases[3:], STRUCTURAL)]
    pooled = table_of(store, windows, monkeypatch)
    sites = [(len(part.cases), table_of(part, windows, monkeypatch)) for part in parts]
    for name, tensor in pooled.items():
        summed = weighted_mean([(patients, state[name]) for patients, state in sites])
        assert torch.allclose(summed, tensor, atol=1e-15), name
    decisions = f"{STATISTICS}.decisions"
    joined = weighted_mean([(patients, state[decisions]) for patients, state in sites])
    assert best_operating_point(joined.numpy()) == best_operating_point(pooled[decisions].numpy())


def test_a_patient_without_a_tumour_is_counted_as_undecided_and_has_no_score(store: CaseStore, monkeypatch) -> None:
    pair = CaseStore(store.cases[:2], STRUCTURAL)
    state = table_of(pair, {"p0": drawn(0.5, -0.5), "p1": drawn(0, 0, slices=0)}, monkeypatch)
    decisions, scores = (state[f"{STATISTICS}.{name}"] for name in ("decisions", "scores"))
    assert torch.allclose(decisions.sum((2, 3)), torch.ones(TABLE_SHAPE[:2], dtype=torch.float64))
    assert bool((decisions[:, :, 0, 2] == 0.5).all())
    assert scores.sum(1).tolist() == [0.0, 0.5]


def test_two_sessions_of_a_patient_weigh_as_one() -> None:
    decisions, scores = torch.zeros(TABLE_SHAPE, dtype=torch.float64), torch.zeros(2, BINS, dtype=torch.float64)
    for value in (0.9, 0.2):
        count_case(decisions, scores, np.array([value]), np.array([1 - value]), 1, 0.5)
    assert float(scores.sum()) == 1 and bool(
        torch.allclose(decisions.sum((2, 3)), torch.ones(TABLE_SHAPE[:2]).double())
    )


def test_the_table_travels_as_statistics_and_counts_its_patients(store: CaseStore, monkeypatch) -> None:
    step = open_step(store, {}, monkeypatch)
    assert {group_of(name) for name in step.model.state_dict()} == {STATISTICS}
    assert step.patients() == {STATISTICS: 8}
    assert step.behind() == {STATISTICS: 4}
    assert open_step(CaseStore(store.cases[:5], STRUCTURAL), {}, monkeypatch).behind() == {STATISTICS: 2}
    with pytest.raises(NothingToTrainError):
        open_step(CaseStore([], STRUCTURAL), {}, monkeypatch)
