"""The weighted mean by parameter group, on numbers that one can check by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from server.aggregation import groupwise
from server.aggregation.groupwise import aggregate
from server.aggregation.weighted import SpooledUpdate, WeightedMean

CURRENT = {
    "trunk.weight": torch.tensor([1.0, 2.0]),
    "heads.a:T2.weight": torch.tensor([5.0]),
    "heads.b:T2.weight": torch.tensor([7.0]),
    "seen": torch.tensor(3),
}


def update(folder: Path, site: str, patients: dict[str, int], **tensors: torch.Tensor) -> SpooledUpdate:
    path = folder / f"{site}.safetensors"
    save_file(tensors, path)
    return SpooledUpdate(site, path, patients)


def two_updates(folder: Path) -> list[SpooledUpdate]:
    return [
        update(
            folder,
            "a",
            {"shared": 3, "domain/a:T2": 2},
            **{"trunk.weight": torch.tensor([0.0, 4.0]), "heads.a:T2.weight": torch.tensor([6.0])},
        ),
        update(folder, "b", {"shared": 1}, **{"trunk.weight": torch.tensor([4.0, 0.0])}),
    ]


def test_a_group_is_the_mean_of_its_sites_weighted_by_patients(tmp_path: Path) -> None:
    merged = aggregate(CURRENT, two_updates(tmp_path), cap=1000)
    assert merged["trunk.weight"].tolist() == [1.0, 3.0]  # (3 * 0 + 1 * 4) / 4, (3 * 4 + 1 * 0) / 4
    assert merged["heads.a:T2.weight"].tolist() == [6.0]  # site a alone


def test_a_cap_keeps_a_large_site_from_drowning_the_rest(tmp_path: Path) -> None:
    merged = aggregate(CURRENT, two_updates(tmp_path), cap=1)
    assert merged["trunk.weight"].tolist() == [2.0, 2.0]


def test_a_group_that_nobody_trained_and_a_counter_keep_their_values(tmp_path: Path) -> None:
    merged = aggregate(CURRENT, two_updates(tmp_path), cap=1000)
    assert merged["heads.b:T2.weight"].tolist() == [7.0]
    assert merged["seen"].item() == 3 and merged["seen"].dtype == torch.int64


def test_without_updates_nothing_moves() -> None:
    merged = aggregate(CURRENT, [], cap=1000)
    assert all(torch.equal(merged[name], tensor) for name, tensor in CURRENT.items())


def test_the_order_of_sites_does_not_show_in_the_bytes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    names = ("a", "b", "c", "d")
    updates = [
        update(tmp_path, name, {"shared": 1 + 7 * number}, w=torch.randn(50, generator=generator))
        for number, name in enumerate(names)
    ]
    forth = aggregate({"w": torch.zeros(50)}, updates, cap=1000)
    back = aggregate({"w": torch.zeros(50)}, updates[::-1], cap=1000)
    assert torch.equal(forth["w"], back["w"])


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
)
def test_equal_sites_give_their_own_value_back_exactly(weights: list[int], value: float) -> None:
    tensor = torch.tensor([value, -value / 3])
    mean = WeightedMean()
    for weight in weights:
        mean.add(weight, tensor)
    assert torch.equal(mean.value().float(), tensor)


def test_tensors_that_are_summed_in_blocks_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = aggregate(CURRENT, two_updates(tmp_path), cap=1000)
    monkeypatch.setattr(groupwise, "BLOCK_BYTES", 1)
    apart = aggregate(CURRENT, two_updates(tmp_path), cap=1000)
    assert all(torch.equal(whole[name], apart[name]) for name in CURRENT)
