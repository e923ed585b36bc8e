"""What the UMMGAT step does with incomplete, unpaired and foreign data."""

from __future__ import annotations

import pytest
import torch

from client.precision import computing_in
from client.training.gan_step import GanStep, build_step
from client.training.row_budget import RowBudget, within
from client.training.trainer import NothingToTrainError, draw_batches, fit
from client.training.workplace import Workplace
from common.approval.vocabulary import LOSSES
from common.nets.first_weights import initialise
from common.nets.ummgat import Ummgat
from common.sequences import Sequence

T1, T2 = Sequence.T1, Sequence.T2
BOTH = (T1, T2)


def step_on(store, study, domains, site="a") -> GanStep:
    model = Ummgat(domains, "tiny")
    initialise(model, torch.Generator().manual_seed(1), "uniform")
    return build_step(model, Workplace(study, domains, site, store, {}, torch.device("cpu")))


def batches(step: GanStep, count: int):
    return list(draw_batches(step, count, torch.Generator().manual_seed(5)))


def test_pairs_are_used_where_a_patient_has_both_sequences(make_store, make_study, domains):
    step = step_on(make_store(BOTH, BOTH), make_study("use"), domains)
    rows = [(b.paired & (b.source_number != b.target_number)).sum() for b in batches(step, 10)]
    assert sum(rows) > 20


def test_with_pairs_ignored_no_paired_target_reaches_the_step(make_store, make_study, domains):
    step = step_on(make_store(BOTH, BOTH), make_study("ignore"), domains)
    for batch in batches(step, 20):
        other = batch.source_number != batch.target_number
        assert not batch.paired[other].any()
        assert (batch.target[other] == -1).all()


def test_one_sequence_a_patient_suffices(make_store, make_study, domains):
    step = step_on(make_store((T1,), (T2,)), make_study("use"), domains)
    drawn = batches(step, 4)
    assert not any(b.paired[b.source_number != b.target_number].any() for b in drawn)
    before = step.model.generator.head.draw.weight.clone()
    fit(step, drawn, lambda number, losses: None)
    assert not torch.equal(before, step.model.generator.head.draw.weight)


def test_without_a_pair_anywhere_to_ignore_pairs_changes_nothing(make_store, make_study, domains):
    results = []
    for pairs in ("use", "ignore"):
        step = step_on(make_store((T1,), (T2,), (T2,)), make_study(pairs), domains)
        fit(step, batches(step, 3), lambda number, losses: None)
        results.append(step.model.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_only_the_sites_own_heads_move(make_store, make_study, domains):
    step = step_on(make_store((T2,), (T2,)), make_study("use"), domains)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    fit(step, batches(step, 6), lambda number, losses: None)
    moved = {name for name, tensor in step.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any("heads.a:T2." in name for name in moved)
    assert any(name.startswith("generator.") for name in moved)
    assert not any("heads.b:" in name for name in moved)


def test_pictures_drawn_towards_another_site_never_update_the_discriminator(make_store, make_study, domains):
    step = step_on(make_store((T1,), (T1,)), make_study("use"), domains)
    (batch,) = batches(step, 1)
    foreign = type(batch)(**{**vars(batch), "own": torch.zeros_like(batch.own)})
    assert step.judge_batch(foreign) == {}


@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_in_parts_teaches_the_game_the_same(rows, make_store, make_study, domains):
    """Both players, R1 and diversity included; the second's gradient follows the first's move, in fp32."""
    found = []
    for budget in (None, rows):
        step = step_on(make_store(BOTH, BOTH), make_study("use", "diversity_weight = 1.0"), domains)
        torch.nn.init.constant_(step.model.generator.head.draw.weight, 0.05)
        (batch,) = batches(step, 1)
        with computing_in("fp32"), within(RowBudget(budget)):
            losses = step(batch)
        gradients = [weight.grad.flatten() for weight in step.model.parameters() if weight.grad is not None]
        found.append((losses, torch.cat(gradients)))
    (whole, gradient), (parted, in_parts) = found
    assert parted == pytest.approx(whole, rel=1e-3)
    assert {"discriminator", "adversarial", "style", "paired", "diversity"} <= set(whole)
    assert float((gradient - in_parts).norm() / gradient.norm()) < 1e-2


def test_patients_are_counted_for_each_group_they_touch(make_store, make_study, domains):
    step = step_on(make_store(BOTH, (T2,), (T2,)), make_study("use"), domains)
    assert step.patients() == {
        "shared": 3,
        "domain/a:T1": 1,
        "domain/a:T1:lesion": 1,
        "domain/a:T2": 3,
        "domain/a:T2:lesion": 3,
    }


def test_a_site_without_a_sequence_of_the_study_sits_out(make_store, make_study, domains):
    with pytest.raises(NothingToTrainError):
        step_on(make_store((Sequence.FLAIR,)), make_study("use"), domains)


def test_background_stays_background(make_store, make_study, domains):
    step = step_on(make_store(BOTH), make_study("use"), domains)
    (batch,) = batches(step, 1)
    drawn = step.drawing.redraw(batch.source, step.drawing.style_of(batch), batch.brain)
    assert (drawn[~batch.brain] == -1).all()


def test_with_no_weight_the_lesion_module_is_off(make_store, make_study, domains):
    heard = []
    step = step_on(make_store(BOTH, BOTH), make_study("use", "lesion_style_weight = 0.0"), domains)
    fit(step, batches(step, 4), lambda number, losses: heard.append(losses))
    assert not any("lesion_style" in losses for losses in heard)
    twins = [p for net in (step.model.encoder,) for k, p in net.named_parameters() if ":lesion" in k]
    assert twins and all(p.grad is None for p in twins)


def test_diversity_is_asked_of_drawn_styles_alone_and_fades(make_store, make_study, domains):
    study = make_study("use", "diversity_weight = 2.0\nrounds = 1\nlocal_steps = 4")
    step = step_on(make_store(BOTH, BOTH), study, domains)
    weights, (first, *rest) = [], batches(step, 5)
    assert (first.in_drawn_style == (first.latent.any(1) & ~first.by_picture)).all()
    assert not first.in_drawn_style[:2].any()
    for batch in (first, *rest):
        drawn = step.drawing.redraw(batch.source, step.drawing.style_of(batch), batch.brain)
        weights.append(step.drawer.diversity(batch, drawn, step.progress)["diversity"].weight)
        fit(step, [batch], lambda number, losses: None)
    assert weights == [2.0, 1.5, 1.0, 0.5, 0.0]


def test_all_that_the_step_reports_may_leave_the_hospital(make_store, make_study, domains):
    heard = set()
    step = step_on(make_store(BOTH, BOTH), make_study("use", "diversity_weight = 1.0"), domains)
    fit(step, batches(step, 4), lambda number, losses: heard.update(losses))
    assert "diversity" in heard and heard <= LOSSES


def test_without_diversity_no_second_style_is_drawn(make_store, make_study, domains):
    (batch,) = batches(step_on(make_store(BOTH), make_study("use"), domains), 1)
    assert batch.other_latent is None


def test_the_first_beta_is_the_studys(make_store, make_study, domains):
    step = step_on(make_store(BOTH), make_study("use"), domains)
    assert {group["betas"] for each in step.optimisers.values() for group in each.param_groups} == {(0.5, 0.99)}


def test_r1_is_counted_on_every_nth_step(make_store, make_study, domains, monkeypatch):
    counted = []

    def penalty(logits, real):
        counted.append(1)
        return logits.sum() * 0

    monkeypatch.setattr("client.training.game.judge.r1_penalty", penalty)
    step = step_on(make_store(BOTH, BOTH), make_study("use"), domains)
    fit(step, batches(step, 6), lambda number, losses: None)
    assert step.settings.r1_every == 4
    assert len(counted) == 2


def test_a_loss_of_pairs_rests_on_the_patients_that_have_pairs(make_store, make_study, domains):
    store = make_store((T1,), BOTH, (T1,), (T1,), (T2,))
    behind = step_on(store, make_study("use"), domains).behind()
    assert (behind["adversarial"], behind["paired"], behind["cycle"]) == (5, 1, 5)
    assert step_on(store, make_study("ignore"), domains).behind()["paired"] == 0
    assert step_on(make_store(BOTH, (T1,)), make_study("use"), domains[2:4], site="b").behind()["cycle"] == 1


def test_a_score_of_a_rare_pair_is_counted_as_the_one_patient_it_was_measured_on(make_store, make_study, domains):
    step = step_on(make_store(BOTH, BOTH), make_study("use"), domains)
    scores = step.evaluate(make_store((T1,), BOTH, (T1,), (T1,), (T2,)))
    assert {name: score.patients for name, score in scores.items()} == {"mae": 1, "mae_copy": 1}


def test_every_loss_that_is_reported_says_who_stands_behind_it(make_store, make_study, domains):
    step = step_on(make_store(BOTH, (T1,)), make_study("use", "diversity_weight = 1.0"), domains)
    reported = {name for batch in batches(step, 8) for name in step(batch)}
    assert {"paired", "cycle", "lesion_style", "diversity"} < reported <= set(step.behind())


def test_the_step_is_deterministic(make_store, make_study, domains):
    store = make_store(BOTH, BOTH)
    results = []
    for _ in range(2):
        step = step_on(store, make_study("use"), domains)
        fit(step, batches(step, 3), lambda number, losses: None)
        results.append(step.model.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_learning_the_negative_beats_copying(make_store, make_study, domains):
    store = make_store(BOTH, BOTH)
    step = step_on(store, make_study("use"), domains)
    fit(step, batches(step, 20), lambda number, losses: None)
    scores = step.evaluate(store)
    assert scores["mae"].value < 0.6 * scores["mae_copy"].value
