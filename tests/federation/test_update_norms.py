"""The norm of an update beside the cohort's: who is refused, by what measure, and who never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from server.aggregation.weighted import SpooledUpdate
from server.update_norms import Outlier, lengths_of, norms_of
from server.update_norms import outliers as outliers_of


def past(*norms: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [{"sites": {site: {"code": "ok", "norms": groups} for site, groups in each.items()}} for each in norms]


def outliers(
    norms: dict[str, dict[str, float]], past: list[dict[str, Any]], limit: float, length: float = 0.0
) -> dict[str, Outlier]:
    return outliers_of(norms, {"shared": length, "domain/a:T1": length}, past, limit)


def test_a_norm_is_the_distance_to_the_global_model_group_by_group(tmp_path: Path) -> None:
    current = {"trunk.a": torch.zeros(1), "trunk.b": torch.ones(1), "heads.a:T1.w": torch.zeros(4)}
    save_file(
        {"trunk.a": torch.tensor([3.0]), "trunk.b": torch.tensor([5.0]), "heads.a:T1.w": torch.ones(4)}, tmp_path / "a"
    )
    update = SpooledUpdate("a", tmp_path / "a", {"shared": 1, "domain/a:T1": 1})
    assert norms_of(current, update) == {"domain/a:T1": 2.0, "shared": 5.0}


def test_above_the_limit_times_the_median_a_site_is_refused_with_group_and_reason() -> None:
    norms = {"a": {"shared": 1.0}, "b": {"shared": 2.0}, "c": {"shared": 20.1}}
    found = outliers(norms, [], limit=10.0)
    assert set(found) == {"c"} and found["c"].group == "shared" and found["c"].usual == 2.0
    assert str(found["c"]) == "c moved shared by 20.1, the cohort's median is 2"
    assert outliers(norms | {"c": {"shared": 20.0}}, [], limit=10.0) == {}


def test_zero_as_limit_lets_all_pass() -> None:
    assert outliers({"a": {"shared": 1.0}, "b": {"shared": 1.0}, "c": {"shared": 1e9}}, [], limit=0.0) == {}


def test_two_sites_are_no_cohort_and_each_is_held_against_its_own_past() -> None:
    now = {"a": {"shared": 1.0}, "b": {"shared": 1000.0}}
    assert outliers(now, [], limit=10.0) == {}
    before = past({"a": {"shared": 1.0}, "b": {"shared": 900.0}})
    assert outliers(now, before, limit=10.0) == {}
    grown = outliers(now, past({"a": {"shared": 1.0}, "b": {"shared": 99.0}}), limit=10.0)
    assert set(grown) == {"b"} and grown["b"].own and "its own past's measure is 99" in str(grown["b"])


def test_a_head_of_one_owner_is_held_against_that_owners_past() -> None:
    others = {site: {"shared": 1.0} for site in ("b", "c")}
    now = {"a": {"shared": 1.0, "domain/a:T1": 50.0}} | others
    assert outliers(now, past({"a": {"domain/a:T1": 6.0}}), limit=10.0) == {}
    assert outliers(now, past({"a": {"domain/a:T1": 4.0}}), limit=10.0)["a"].group == "domain/a:T1"


def test_a_head_that_hardly_moved_before_may_move_by_its_own_length() -> None:
    current = {"heads.a:T1.w": torch.full((4,), 2.0), "seen": torch.tensor(3)}
    assert lengths_of(current) == {"domain/a:T1": 4.0}
    before = past({"a": {"domain/a:T1": 1e-6}})
    assert outliers({"a": {"domain/a:T1": 4.0}}, before, limit=10.0, length=4.0) == {}
    assert set(outliers({"a": {"domain/a:T1": 4.1}}, before, limit=10.0, length=4.0)) == {"a"}


def test_refused_updates_of_earlier_rounds_are_no_measure() -> None:
    records = [{"sites": {"b": {"code": "large-norm", "group": "shared"}}}]
    assert outliers({"b": {"shared": 1000.0}}, records, limit=10.0) == {}


def test_where_most_sites_did_not_move_nobody_is_refused() -> None:
    assert outliers({"a": {"shared": 0.0}, "b": {"shared": 0.0}, "c": {"shared": 1.0}}, [], limit=10.0) == {}


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a")])
def test_the_order_of_sites_does_not_matter(order: tuple[str, ...]) -> None:
    norms = {"a": {"shared": 1.0}, "b": {"shared": 2.0}, "c": {"shared": 99.0}}
    assert set(outliers({site: norms[site] for site in order}, [], limit=10.0)) == {"c"}
