"""Laws of contrastive maximum learning: labels of both hypotheses, the predicted tumour, hidden T1Gd, kept drawings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.training import drawn_hypotheses
from client.training.identification_step import IdentificationStep, average, build_step, pair_up
from client.training.trainer import NothingToTrainError
from client.training.workplace import Workplace
from common.nets.conditional_unet import Synthesis
from common.nets.identifier import Identifier
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import Study

T1, T1GD, T2, FLAIR = STRUCTURAL


class BrightWhereFlairIs(nn.Module):
    """A synthesiser that draws T1, brighter where FLAIR is bright if the label says so."""

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, enhancing: Tensor, availability: Tensor) -> Synthesis:
        bright = (condition[:, 1:] > 0.4).float() * enhancing[:, None, None, None]
        return Synthesis(condition[:, :1] + 0.5 * bright, torch.zeros_like(x_t))


class TumourWhereFlairIs(nn.Module):
    """A segmenter that sees tumour where FLAIR is bright, and would see it everywhere in a bright T1Gd."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.where((x[:, 3:] > 0.4) | (x[:, 1:2] > 0.6), 5.0, -5.0)
        return logits.expand(-1, 3, -1, -1)


@pytest.fixture
def open_step(study: Study, generator_model: nn.Module):
    def build(store: CaseStore, *, contrastive: bool = True) -> IdentificationStep:
        torch.manual_seed(0)
        identifier = study.stages.identifier.model_copy(update={"contrastive": contrastive})
        asked = study.model_copy(update={"stages": study.stages.model_copy(update={"identifier": identifier})})
        frozen = {
            Stage.GENERATOR: generator_model,
            Stage.SYNTHESISER: BrightWhereFlairIs(),
            Stage.SEGMENTER: TumourWhereFlairIs(),
        }
        return build_step(Identifier("tiny"), Workplace(asked, (), "a", store, frozen, torch.device("cpu")))

    return build


def test_the_true_hypothesis_is_consistent_and_the_other_is_not() -> None:
    windows = torch.arange(4.0)[None, :, None, None].expand(2, 4, 1, 1)
    batch = pair_up(windows, torch.tensor([1, 0]))
    assert batch.inputs[:, 2, 0, 0].tolist() == [2, 2, 3, 3]  # T1Gd⁺ of both, then T1Gd⁻ of both
    assert batch.positive.tolist() == [1, 0, 0, 1]


def test_without_contrast_each_window_is_asked_once_for_the_status_on_the_mean() -> None:
    windows = torch.arange(4.0)[None, :, None, None].expand(2, 4, 1, 1)
    batch = average(windows, torch.tensor([1, 0]))
    assert batch.inputs[:, :, 0, 0].tolist() == [[0, 1, 2.5], [0, 1, 2.5]]
    assert batch.positive.tolist() == [1, 0]


def test_the_plain_classifier_trains_on_as_many_windows_as_the_batch_says(
    open_step, full_store: CaseStore, rng: torch.Generator
) -> None:
    step = open_step(full_store, contrastive=False)
    assert step.draw(rng).inputs.shape == (4, 3, 16, 24)
    assert step(step.draw(rng))["loss"] > 0 and step.evaluate(full_store)["loss"].value > 0


def test_every_batch_holds_as_many_consistent_as_inconsistent_windows(
    open_step, full_store: CaseStore, rng: torch.Generator
) -> None:
    batch = open_step(full_store).draw(rng)
    assert batch.inputs.shape == (4, 3, 16, 24)
    assert float(batch.positive.sum()) == 2


def test_overfitting_the_toy_cases_lowers_the_loss(open_step, make_case, rng: torch.Generator) -> None:
    step = open_step(CaseStore([make_case("p")], STRUCTURAL))
    first = step.evaluate(step.store)["loss"].value
    for _ in range(60):
        step(step.draw(rng))
    assert step.evaluate(step.store)["loss"].value < 0.5 * first


def test_windows_lie_in_the_predicted_tumour_found_without_the_real_t1gd(open_step, make_case) -> None:
    case = make_case("p")
    step = open_step(CaseStore([case], STRUCTURAL))
    assert step.windows[0].read().shape == (4, 2, 16, 24)  # the two slices with tumour
    t1, _, enhancing, non_enhancing = step.windows[0].read()
    assert float(np.abs(enhancing - non_enhancing).max()) == pytest.approx(0.5, abs=1e-5)
    assert np.allclose(non_enhancing, t1, atol=1e-6)


def test_a_second_step_finds_what_the_first_one_drew(open_step, full_store: CaseStore, monkeypatch) -> None:
    first = open_step(full_store)

    def never(*_: object) -> None:
        raise AssertionError("drawn twice")

    monkeypatch.setattr(drawn_hypotheses.HypothesisDrawer, "draw", never)
    second = open_step(full_store)
    assert all(np.array_equal(first.windows[index].read(), second.windows[index].read()) for index in (0, 1))


def test_a_damaged_drawing_is_drawn_again(open_step, full_store: CaseStore) -> None:
    first = open_step(full_store).windows[0].read()
    for damage in (lambda whole: b"damaged", lambda whole: whole[:-1], lambda whole: b""):
        for path in (full_store.cases[0].path.parent / "drawn").iterdir():
            path.write_bytes(damage(path.read_bytes()))
        assert np.array_equal(open_step(full_store).windows[0].read(), first)


def test_a_window_read_alone_is_that_of_the_whole(open_step, full_store: CaseStore) -> None:
    kept = open_step(full_store).windows[1]
    assert kept.count == 2
    assert all(np.array_equal(kept.read_one(number), kept.read()[:, number]) for number in range(2))


def test_other_models_have_another_digest(open_step, full_store: CaseStore) -> None:
    drawer = open_step(full_store).drawer
    before = drawer.digest()
    drawer.segmenter.register_buffer("extra", torch.ones(1))
    assert drawer.digest() != before


def test_cases_of_unknown_status_teach_nothing(open_step, make_case) -> None:
    cases = [make_case("p"), make_case("q", (T1GD,))]
    assert open_step(CaseStore(cases, STRUCTURAL)).patients() == {"shared": 1}
    with pytest.raises(NothingToTrainError):
        open_step(CaseStore(cases[1:], STRUCTURAL))
    assert open_step(CaseStore(cases[:1], STRUCTURAL)).evaluate(CaseStore([], STRUCTURAL)) == {}
