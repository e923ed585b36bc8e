"""Two sites with all eleven sequences of the vocabulary: 22 domains and their twins."""

from __future__ import annotations

import torch

from client.inference.fill import fill_missing, pick_domain, pick_source
from client.training.gan_step import build_step
from client.training.trainer import draw_batches, fit
from client.training.workplace import Workplace
from common.nets.first_weights import initialise
from common.nets.ummgat import Ummgat
from common.sequences import Domain, Sequence, with_twins

EVERY = tuple(Sequence)
DOMAINS = with_twins(tuple(Domain(site, sequence) for site in ("a", "b") for sequence in EVERY))


def game() -> Ummgat:
    model = Ummgat(DOMAINS, "tiny")
    initialise(model, torch.Generator().manual_seed(1), "uniform")
    return model


def test_every_domain_is_drawn_towards_and_trained(make_store, make_study):
    store = make_store(EVERY, EVERY, (Sequence.CBV,), (Sequence.ADC, Sequence.T1))
    step = build_step(game(), Workplace(make_study("use"), DOMAINS, "a", store, {}, torch.device("cpu")))
    drawn = list(draw_batches(step, 60, torch.Generator().manual_seed(5)))
    numbers = {number for batch in drawn for number in batch.target_number.tolist()}
    assert {DOMAINS[number] for number in numbers} == {domain for domain in DOMAINS if not domain.lesion}
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    played = drawn[:3]
    fit(step, played, lambda number, losses: None)
    moved = {name for name, tensor in step.model.state_dict().items() if not torch.equal(tensor, before[name])}
    judged = {DOMAINS[number] for batch in played for number in batch.target_number[batch.own].tolist()}
    assert {name for name in moved if name.startswith("discriminator.out.") and name.endswith(".bias")} == {
        f"discriminator.out.heads.{domain.key}.bias" for domain in judged
    }
    assert step.patients()["domain/a:CBV"] == 3


def test_any_sequence_is_filled_from_any_other():
    model, brain = game().eval(), torch.ones(1, 1, 16, 16, dtype=torch.bool)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for held in EVERY:
        present = {sequence: torch.tensor([sequence is held]) for sequence in EVERY}
        filled = fill_missing(model, dict.fromkeys(EVERY, image), present, "b", "a", brain)
        assert all((filled[sequence] > -1).all() for sequence in EVERY)


def test_a_map_is_filled_from_a_structural_sequence_where_there_is_one():
    assert pick_source(Sequence.CBV, {Sequence.HARDI, Sequence.ADC, Sequence.T2}) is Sequence.T2
    assert pick_source(Sequence.CBV, {Sequence.HARDI, Sequence.ADC}) is Sequence.ADC
    assert pick_source(Sequence.T1, {Sequence.SWI}) is Sequence.SWI
    assert pick_source(Sequence.SWI, {Sequence.SWI}) is None
    assert pick_domain(DOMAINS, Sequence.ASL, "unknown", "b") == Domain("b", Sequence.ASL)
