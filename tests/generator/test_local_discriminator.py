"""A discriminator that stays at its site: what travels, and how foreign domains are learnt without one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from client.training.gan_step import GanStep, build_step
from client.training.row_budget import RowBudget, within
from client.training.trainer import draw_batches, fit
from client.training.workplace import Workplace
from common.nets.stage_models import build_model
from common.parameters import LOCAL, by_group, grouping_of, travelling
from common.sequences import Sequence
from common.settings.stages import Stage

T1, T2 = Sequence.T1, Sequence.T2
LOCALLY = 'discriminator = "local"'


def step_on(store, study, domains) -> GanStep:
    model = build_model(Stage.GENERATOR, study, domains, torch.Generator().manual_seed(1))
    return build_step(model, Workplace(study, domains, "a", store, {}, torch.device("cpu")))


@pytest.fixture
def step(make_store, make_study, domains) -> GanStep:
    return step_on(make_store((T1, T2), (T1, T2)), make_study("use", LOCALLY), domains)


def batch_of(step: GanStep):
    (batch,) = draw_batches(step, 1, torch.Generator().manual_seed(5))
    return batch


def test_trunk_and_heads_of_a_local_discriminator_never_travel(step):
    grouping, names = grouping_of(step.model), step.model.state_dict()
    local = by_group(names, grouping)[LOCAL]
    assert set(local) == {name for name in names if name.startswith("discriminator.")} and local
    assert not any(name.startswith("discriminator.") for name in travelling(names, grouping))
    assert "encoder.out.heads.a:T1.weight" in by_group(names, grouping)["domain/a:T1"]


def test_a_shared_discriminator_travels_as_ever(make_store, make_study, domains):
    step = step_on(make_store((T1,)), make_study(), domains)
    assert LOCAL not in by_group(step.model.state_dict(), grouping_of(step.model))


def test_rows_towards_other_sites_are_learnt_by_style_and_cycle_alone(step):
    batch = batch_of(step)
    none = dataclasses.replace(
        batch,
        own=torch.zeros_like(batch.own),
        paired=torch.zeros_like(batch.paired),
        by_picture=torch.zeros_like(batch.own),
        target_number=torch.full_like(batch.target_number, step.draw_rows.foreign[0]),
    )
    assert step.judge_batch(none) == {}
    assert set(step.improve_on(none)) == {"style", "cycle"}


def test_what_the_foreign_heads_of_a_local_discriminator_would_say_changes_nothing(make_store, make_study, domains):
    found = []
    for spoil in (False, True):
        step = step_on(make_store((T1, T2), (T1, T2)), make_study("use", LOCALLY), domains)
        if spoil:
            with torch.no_grad():
                step.model.discriminator.out.heads["b:T1"].weight.fill_(1e6)
                step.model.discriminator.out.heads["b:T2"].weight.fill_(1e6)
        fit(step, list(draw_batches(step, 3, torch.Generator().manual_seed(5))), lambda number, losses: None)
        found.append({name: tensor for name, tensor in step.model.state_dict().items() if "heads.b:" not in name})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_batch_in_parts_teaches_a_local_game_the_same(make_store, make_study, domains):
    losses = []
    for rows in (None, 3):
        step = step_on(make_store((T1, T2), (T1, T2)), make_study("use", LOCALLY), domains)
        with within(RowBudget(rows)):
            losses.append(step(batch_of(step)))
    assert losses[0].keys() == losses[1].keys()
    assert losses[0]["adversarial"] == pytest.approx(losses[1]["adversarial"], rel=1e-3)
    assert losses[0]["win_rate"] == pytest.approx(losses[1]["win_rate"])
