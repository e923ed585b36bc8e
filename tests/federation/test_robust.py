"""Median and trimmed mean by parameter group: on numbers that one can check by hand, and as laws."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from common.errors import StudyError
from common.parameters import Grouping, StateDict
from common.settings.aggregation import Aggregation
from common.study import parse_study
from server.aggregation.groupwise import aggregate
from server.aggregation.robust import Median, TrimmedMean, sites_cut
from server.aggregation.rule import Combiner, Rule
from server.aggregation.weighted import SpooledUpdate

MEDIAN, TRIMMED = Rule(Aggregation(rule="median")), Rule(Aggregation(rule="trimmed-mean", trim=0.2))
ROBUST = pytest.mark.parametrize("rule", [MEDIAN, TRIMMED], ids=["median", "trimmed-mean"])
CURRENT = {"trunk": torch.tensor([1.0, 2.0]), "heads.a:T1.w": torch.tensor([5.0])}


def updates(folder: Path, values: dict[str, StateDict], patients: int = 1) -> list[SpooledUpdate]:
    """One update a site; groups follow from the names."""
    made = []
    for site, tensors in values.items():
        save_file(tensors, folder / f"{site}.safetensors")
        groups = {"shared": patients} if "trunk" in tensors else {}
        groups |= {"domain/a:T1": patients} if "heads.a:T1.w" in tensors else {}
        groups |= {"norms": patients} if "norm.w" in tensors else {}
        made.append(SpooledUpdate(site, folder / f"{site}.safetensors", groups))
    return made


def of(combiner: Combiner, values: list[list[float]], weights: list[int] | None = None) -> list[float]:
    for weight, value in zip(weights or [1] * len(values), values, strict=True):
        combiner.add(weight, torch.tensor(value))
    return combiner.value().tolist()


def test_the_median_of_three_is_each_coordinates_middle_value() -> None:
    assert of(Median(), [[1.0, 9.0], [2.0, -5.0], [100.0, 4.0]]) == [2.0, 4.0]


def test_the_median_of_four_is_the_mean_of_the_two_in_the_middle() -> None:
    assert of(Median(), [[1.0], [2.0], [4.0], [100.0]]) == [3.0]


def test_a_trimmed_mean_of_five_leaves_out_the_least_and_the_largest() -> None:
    assert of(TrimmedMean(0.2), [[-100.0], [1.0], [2.0], [6.0], [1e9]]) == [3.0]


def test_no_weight_can_be_claimed_under_a_robust_rule() -> None:
    values = [[1.0], [2.0], [3.0]]
    for make in (Median, lambda: TrimmedMean(0.2)):
        assert of(make(), values, [1, 1, 1_000_000]) == of(make(), values)


@pytest.mark.parametrize(("sites", "cut"), [(3, 1), (4, 1), (5, 1), (6, 2), (10, 2), (15, 3), (200, 40)])
def test_the_share_that_is_cut_is_rounded_up(sites: int, cut: int) -> None:
    assert sites_cut(sites, 0.2) == cut


@given(st.integers(3, 200), st.floats(0.001, 0.499))
def test_something_is_always_left_and_somebody_always_cut(sites: int, trim: float) -> None:
    assert sites_cut(sites, trim) >= 1 and sites - 2 * sites_cut(sites, trim) >= 1


@given(st.lists(st.integers(-1_000_000, 1_000_000), min_size=3, max_size=9), st.floats(-1e30, 1e30))
def test_one_site_among_four_or_more_cannot_leave_the_range_of_the_others(honest: list[int], hostile: float) -> None:
    for combiner in (Median(), TrimmedMean(0.2)):
        (found,) = of(combiner, [[float(value)] for value in [*honest, hostile]])
        assert min(honest) <= found <= max(honest)


@ROBUST
def test_the_order_of_sites_does_not_show_in_the_bytes(rule: Rule, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    made = updates(tmp_path, {name: {"trunk": torch.randn(2, generator=generator)} for name in "abcd"})
    found = [aggregate(CURRENT, order, 1000, rule=rule)["trunk"] for order in permutations(made)]
    assert all(torch.equal(found[0], other) for other in found)


@ROBUST
def test_equal_sites_give_their_own_value_back(rule: Rule, tmp_path: Path) -> None:
    value = torch.tensor([0.1, -1e-20])
    made = updates(tmp_path, {name: {"trunk": value} for name in "abc"})
    assert torch.equal(aggregate(CURRENT, made, 1000, rule=rule)["trunk"], value)


@ROBUST
def test_a_group_of_two_sites_keeps_its_value_and_an_owners_head_moves(rule: Rule, tmp_path: Path) -> None:
    sent = {"trunk": torch.zeros(2), "heads.a:T1.w": torch.tensor([6.0]), "norm.w": torch.tensor([0.0])}
    made = updates(tmp_path, {"a": sent, "b": {"trunk": torch.zeros(2), "norm.w": torch.tensor([0.0])}})
    current = CURRENT | {"norm.w": torch.tensor([3.0])}
    merged = aggregate(current, made, 1000, Grouping(norms=frozenset({"norm.w"})), rule)
    assert torch.equal(merged["trunk"], CURRENT["trunk"]) and merged["norm.w"].tolist() == [3.0]
    assert merged["heads.a:T1.w"].tolist() == [6.0]


@ROBUST
def test_statistics_are_the_weighted_mean_under_every_rule(rule: Rule, tmp_path: Path) -> None:
    made = []
    for site, value, patients in (("a", 1.0, 3), ("b", 5.0, 1)):
        save_file({"statistics.table": torch.tensor([value])}, tmp_path / site)
        made.append(SpooledUpdate(site, tmp_path / site, {"statistics": patients}))
    merged = aggregate({"statistics.table": torch.zeros(1)}, made, 1000, rule=rule)
    assert merged["statistics.table"].tolist() == [2.0]


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
def test_a_study_of_two_sites_cannot_ask_for_a_robust_rule(rule: str) -> None:
    text = 'name = "x"\nsites = ["a", "b"]\nreference_site = "a"\n[aggregation]\nrule = "{}"\n[stages.generator]\n'
    with pytest.raises(StudyError, match=r"study:5: aggregation.rule: .* needs 3 sites, the study has 2"):
        parse_study(text.format(rule))
