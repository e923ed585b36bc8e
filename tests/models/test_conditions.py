"""Laws of what a synthesiser is shown: real, filled and missing conditions, neighbours, and hiding by lot."""

from __future__ import annotations

import pytest
import torch

from client.data.dataset import CaseStore
from client.training.conditions import Conditions, conditions_of, drop_some
from client.training.fill_memo import FillMemo
from client.training.filled_inputs import Filler
from common.nets.embeddings import FILLED, MISSING, REAL
from common.sequences import STRUCTURAL, Domain, Sequence

T1, T1GD, T2, FLAIR = STRUCTURAL


@pytest.fixture
def filler(generator_model) -> Filler:
    return Filler(generator_model, "a", "a", FillMemo())


def test_each_condition_is_marked_as_what_it_is(filler: Filler, make_case) -> None:
    store = CaseStore([make_case("p", (T1, T1GD)), make_case("q", (T1GD, FLAIR)), make_case("r", (T1GD,))], STRUCTURAL)
    slices = store.take([(0, 1), (1, 1), (2, 1)])
    conditions = conditions_of(filler, store, slices, (T1, FLAIR))
    assert conditions.availability.tolist() == [[REAL, FILLED], [FILLED, REAL], [MISSING, MISSING]]
    assert bool((conditions.images[2] == -1).all())
    assert torch.equal(conditions.images[0, 0], slices.images[T1][0, 0])


def test_what_no_site_holds_is_missing_and_not_filled(generator_model, make_case) -> None:
    generator_model.domains = (Domain("a", T1),)
    filler = Filler(generator_model, "a", "a", FillMemo())
    store = CaseStore([make_case("p", (T1,))], STRUCTURAL)
    conditions = conditions_of(filler, store, store.take([(0, 1)]), (T1, FLAIR))
    assert conditions.availability.tolist() == [[REAL, MISSING]]


def test_neighbours_stand_around_the_slice_and_end_in_background(filler: Filler, make_case) -> None:
    case = make_case("p", (T1, T2))
    store = CaseStore([case], STRUCTURAL)
    conditions = conditions_of(filler, store, store.take([(0, 0), (0, 2)]), (T1, FLAIR), slices=3)
    t1, flair = conditions.images[:, :3], conditions.images[:, 3:]
    real = torch.from_numpy(case.slices(T1).copy())
    assert torch.equal(t1[1], real[1:4])
    assert torch.equal(t1[0, 1:], real[:2]) and bool((t1[0, 0] == -1).all())
    inside = torch.from_numpy(case.brain()[3] > 0)
    drawn = torch.from_numpy(case.slices(T2)[3].copy()) - 0.01
    assert torch.allclose(flair[1, 2][inside], drawn[inside], atol=1e-3)
    assert bool((flair[0, 0] == -1).all())
    assert conditions.availability.tolist() == [[REAL, FILLED]] * 2


def test_a_neighbour_is_read_for_no_more_than_the_conditions_need(filler: Filler, make_case, monkeypatch) -> None:
    store = CaseStore([make_case("p", (T1, T1GD, T2, FLAIR)), make_case("q", (T1, T1GD, T2))], STRUCTURAL)
    both, one = store.take([(0, 1), (1, 1)]), store.take([(0, 1)])
    read: list[set[Sequence]] = []
    take = store.take
    monkeypatch.setattr(store, "take", lambda picks, sequences: read.append(set(sequences)) or take(picks, sequences))
    conditions_of(filler, store, one, (T1, FLAIR), slices=3)
    conditions_of(filler, store, both, (T1, FLAIR), slices=3)
    assert read == [{T1, FLAIR}] * 2 + [{T1, FLAIR, T2}] * 2  # of q, FLAIR is filled from T2


def test_a_hidden_condition_is_background_and_marked_and_one_always_stays(rng: torch.Generator) -> None:
    codes = torch.tensor([[REAL, FILLED], [REAL, MISSING]]).repeat(500, 1)
    dropped = drop_some(Conditions(torch.zeros(1000, 6, 2, 2), codes), 0.5, None, rng)
    shown = dropped.availability != MISSING
    assert torch.equal(shown.repeat_interleave(3, dim=1), (dropped.images == 0).all((2, 3)))
    assert torch.equal(~shown.repeat_interleave(3, dim=1), (dropped.images == -1).all((2, 3)))
    assert bool(shown.any(1).all())
    assert bool((dropped.availability[shown] == codes[shown]).all())
    both = dropped.availability[::2]
    # of two, each is hidden with 1/2, but if both are, one of them comes back: 3/8 each
    assert (both[:, 0] == MISSING).float().mean().item() == pytest.approx(3 / 8, abs=0.06)
    assert (both[:, 1] == MISSING).float().mean().item() == pytest.approx(3 / 8, abs=0.06)


def test_the_base_of_a_difference_is_never_hidden(rng: torch.Generator) -> None:
    codes = torch.full((200, 3), REAL)
    dropped = drop_some(Conditions(torch.zeros(200, 3, 1, 1), codes), 0.9, 1, rng)
    assert bool((dropped.availability[:, 1] == REAL).all())
    assert (dropped.availability[:, 0] == MISSING).float().mean().item() == pytest.approx(0.9, abs=0.08)


def test_a_map_is_a_source_and_a_condition_like_any_other(filler: Filler, make_case) -> None:
    store = CaseStore([make_case("p", (T2,))], (*STRUCTURAL, Sequence.ADC))
    conditions = conditions_of(filler, store, store.take([(0, 1)]), (Sequence.ADC, T1))
    assert conditions.availability.tolist() == [[MISSING, FILLED]]
