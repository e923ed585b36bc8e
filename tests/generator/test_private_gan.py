"""The private form of the UMMGAT game: all four networks, R1 of each patient alone, no picture of another patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from client.privacy import private_step
from client.privacy.dp_sgd import one_by_one, trained_weights
from client.privacy.private_step import PrivateStep
from client.training import gan_step
from client.training.gan_step import GanStep, build_step
from client.training.workplace import Workplace
from common.nets.first_weights import initialise
from common.nets.ummgat import Ummgat
from common.sequences import Sequence
from common.settings.privacy import Privacy

T1, T2 = Sequence.T1, Sequence.T2
BOTH = (T1, T2)
EVERYBODY = Privacy(sampling_rate=1.0)


def step_on(store, study, domains) -> GanStep:
    model = Ummgat(domains, "tiny")
    initialise(model, torch.Generator().manual_seed(1), "uniform")
    return build_step(model, Workplace(study, domains, "a", store, {}, torch.device("cpu")))


def rows_of(step: GanStep, patient: str, count: int = 16):
    generator = torch.Generator().manual_seed(5)
    return [step.draw_of(patient, generator) for _ in range(count)]


@pytest.fixture
def step(make_store, make_study, domains) -> GanStep:
    """Patient p0 holds T1 and T2, p1 T1 alone, p2 T2 alone."""
    return step_on(make_store(BOTH, (T1,), (T2,)), make_study("use", "diversity_weight = 1.0"), domains)


@pytest.mark.parametrize("patient", ["p0", "p1", "p2"])
def test_a_row_is_drawn_from_the_scans_of_its_patient_alone(step, make_study, domains, patient) -> None:
    alone = step_on(step.store.of_patient(patient), make_study("use", "diversity_weight = 1.0"), domains)
    for among, apart in zip(rows_of(step, patient), rows_of(alone, patient), strict=True):
        assert all(torch.equal(getattr(among, field.name), getattr(apart, field.name)) for field in fields(among))
    case = step.store.cases[int(patient[1])]
    pictures = {tuple(sorted(case.slices(held)[k].ravel().tolist())) for held in case.sequences for k in range(6)}
    for row in rows_of(step, patient):
        shown = [row.source, *([row.reference] if bool(row.own) else []), *([row.target] if bool(row.paired) else [])]
        assert all(tuple(sorted(picture.flatten().tolist())) in pictures for picture in shown)


def test_a_game_that_tells_no_figure_is_not_watched(step, monkeypatch) -> None:
    def watched(*_):
        raise AssertionError("pictures were encoded for nobody")

    monkeypatch.setattr(gan_step, "GameWatch", watched)
    private = PrivateStep(step, EVERYBODY, expected=4)
    generator = torch.Generator().manual_seed(5)
    private(private.draw(generator))
    assert private.behind()["style_drift"] == 0


def test_what_a_patient_lacks_is_drawn_towards_without_any_picture_of_it(step) -> None:
    rows = rows_of(step, "p1", 40)
    towards_t2 = [row for row in rows if int(row.target_number) == step.own[T2]]
    assert towards_t2 and not any(bool(row.own) or bool(row.by_picture) for row in towards_t2)
    assert any(bool(row.own) for row in rows)


def test_a_row_comes_in_every_style(step) -> None:
    rows = rows_of(step, "p0", 40)
    styles = Counter(
        "picture" if bool(row.by_picture) else "drawn" if bool(row.in_drawn_style) else "typical" for row in rows
    )
    assert set(styles) == {"picture", "drawn", "typical"} and all(len(row.source) == 1 for row in rows)


def test_all_four_networks_get_noise_in_every_weight_that_the_site_trains(step) -> None:
    private = PrivateStep(step, EVERYBODY, expected=2)
    before = {name: weight.detach().clone() for name, weight in step.model.named_parameters()}
    assert private.moves == 2
    private(private.draw(torch.Generator()))
    moved = {name for name, weight in step.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name, weight in step.model.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in moved} == {"generator", "encoder", "mapper", "discriminator"}
    assert not any(".heads.b:" in name for name in moved)  # another site's are not this one's to train
    private.check_buffers()


def test_r1_enters_each_patients_gradient_before_it_is_clipped(step, monkeypatch) -> None:
    monkeypatch.setattr(private_step, "fresh_generator", lambda: torch.Generator().manual_seed(7))
    row = next(row for row in rows_of(step, "p0") if bool(row.own))
    found: list[list[Tensor]] = []
    for number in (0, 1):  # R1 is due at every fourth step
        judge = step.moves(number)[0]
        found += one_by_one([row], judge.loss, step.optimisers[judge.optimiser])
    real = row.reference.clone().requires_grad_()
    logits = step.model.discriminator(real, row.target_number)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    settings = step.settings
    penalty = slope.square().sum() / 2 * settings.r1_weight * settings.r1_every
    weights = trained_weights(step.optimisers["discriminator"])
    wanted = torch.autograd.grad(penalty, weights, allow_unused=True)
    for with_r1, without, alone in zip(*found, wanted, strict=True):
        assert torch.allclose(with_r1 - without, torch.zeros_like(with_r1) if alone is None else alone, atol=1e-5)


def test_a_row_of_two_patients_is_never_made(step) -> None:
    assert all(
        len(value) == 1
        for row in rows_of(step, "p0", 10)
        for field in fields(row)
        if isinstance(value := getattr(row, field.name), Tensor)
    )
