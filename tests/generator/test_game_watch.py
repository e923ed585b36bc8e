"""The figures that tell whether a game goes wrong, and the alarms that they raise when it is made to."""

from __future__ import annotations

import pytest
import torch

from client.training.game.watch import GameWatch, spread
from client.training.gan_step import GanStep, build_step
from client.training.trainer import draw_batches, fit
from client.training.workplace import Workplace
from common.nets.first_weights import initialise
from common.nets.ummgat import Ummgat
from common.sequences import Sequence
from server.alarms import alarms

T1, T2 = Sequence.T1, Sequence.T2


@pytest.fixture
def step(make_store, make_study, domains) -> GanStep:
    model = Ummgat(domains, "tiny")
    initialise(model, torch.Generator().manual_seed(1), "uniform")
    study = make_study("use", "local_steps = 3")
    store = make_store((T1, T2), (T1, T2), (T1,))
    return build_step(model, Workplace(study, domains, "a", store, {}, torch.device("cpu")))


def facts(step: GanStep) -> dict[str, float]:
    return step.watch.facts()


def kinds(found: dict[str, float], before: dict[str, float]) -> set[str]:
    """The alarms of a round with the figures `found` after two rounds with those of `before`."""
    now, then = ({"a": {"metrics": {f"training.{k}": v for k, v in each.items()}}} for each in (found, before))
    return {alarm.kind for alarm in alarms(now, [{"sites": then}] * 2)}


def test_the_figures_come_once_a_round_with_the_last_step(step):
    heard = []
    fit(step, list(draw_batches(step, 3, torch.Generator().manual_seed(5))), lambda n, losses: heard.append(losses))
    assert ["style_drift" in losses for losses in heard] == [False, False, True]
    assert all(0 <= losses["win_rate"] <= 1 for losses in heard)
    assert heard[-1]["style_drift"] > 0 and heard[-1]["output_spread"] > 0
    assert step.behind()["style_drift"] == 2  # patients who hold T2, the rarer sequence


def test_an_untrained_generator_copies_and_so_draws_as_variedly_as_the_site(step):
    found = facts(step)
    assert found["output_spread"] == pytest.approx(1, abs=0.5) and found["style_drift"] == 0
    assert kinds(found, found) == set()


def test_a_generator_that_draws_one_picture_for_all_alarms(step):
    before = facts(step)
    step.model.translate = lambda image, target: torch.zeros_like(image)
    assert facts(step)["output_spread"] == 0 and kinds(facts(step), before) == {"mode-collapse"}


def test_an_encoder_that_sees_one_style_in_all_alarms(step):
    before = facts(step)
    with torch.no_grad():
        for head in step.model.encoder.out.heads.values():
            head.weight.zero_()
    step.watch.first = {number: codes.mean(0) for number, codes in step.watch._codes().items()}
    assert facts(step)["style_spread"] == 0 and kinds(facts(step), before) == {"style-collapse"}


def test_a_style_that_leaps_alarms(step):
    before = facts(step)
    with torch.no_grad():
        step.model.encoder.out.heads["a:T1"].bias.add_(torch.randn(32, generator=torch.Generator().manual_seed(1)))
    assert facts(step)["style_drift"] > 1 and "style-drift" in kinds(facts(step), before)


def test_a_discriminator_that_says_the_same_of_all_is_right_half_the_time(step):
    with torch.no_grad():
        for head in step.model.discriminator.out.heads.values():
            head.weight.zero_()
            head.bias.fill_(1.0)
    (batch,) = draw_batches(step, 1, torch.Generator().manual_seed(5))
    assert step.judge_batch(batch)["win_rate"] == 0.5


@pytest.mark.parametrize(("right", "kind"), [(True, "discriminator-wins"), (False, "discriminator-loses")])
def test_a_discriminator_that_is_always_right_or_always_wrong_alarms(step, right, kind):
    (batch,) = draw_batches(step, 1, torch.Generator().manual_seed(5))
    mean = batch.reference[batch.own].mean()
    step.drawing.of = lambda part: (None, torch.full_like(part.source, -3.0, requires_grad=True))
    sign = 1.0 if right else -1.0
    weight = next(step.model.discriminator.parameters())
    step.model.discriminator.forward = lambda image, number: (
        sign * (image.mean((1, 2, 3)) - (mean - 3) / 2) + 0 * weight.sum()
    )
    found = step.judge_batch(batch)
    assert found["win_rate"] == float(right) and kinds(found, {}) == {kind}


@pytest.mark.parametrize(("minimum", "watched"), [(1, 8), (5, 8), (10, 10)])
def test_as_many_patients_are_watched_as_must_stand_behind_a_figure(make_store, make_study, domains, minimum, watched):
    store, study = make_store(*[(T1,)] * 12), make_study("use", "local_steps = 1")
    place = Workplace(study, domains, "a", store, {}, torch.device("cpu"), minimum)
    step = build_step(Ummgat(domains, "tiny"), place)
    fit(step, list(draw_batches(step, 1, torch.Generator().manual_seed(5))), lambda n, losses: None)
    assert step.behind()["style_drift"] == step.watch.patients == watched


def test_one_picture_has_no_spread(make_store, domains):
    model = Ummgat(domains, "tiny")
    watch = GameWatch(model, make_store((T1,)), {T1: model.domains.index(domains[0])}, torch.device("cpu"))
    assert set(watch.facts()) == {"style_drift"} and watch.patients == 1


def test_spread_by_hand_inside_the_brain_of_all():
    pictures = torch.tensor([[[[1.0, 5.0]]], [[[3.0, 9.0]]]])
    brains = torch.tensor([[[[True, True]]], [[[True, False]]]])
    assert spread(pictures, brains) == pytest.approx(2**0.5)
    assert spread(pictures, torch.zeros_like(brains)) == 0
