"""Tensors that a site holds for a run: kept by digest, verified on use, forgotten when no task names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from client.training.held_tensors import HeldTensors
from common.errors import ReleaseError
from common.wire.digest import digest_of

WEIGHTS = {"w": torch.tensor([1.0, 2.0])}
DIGEST = digest_of(WEIGHTS)


def test_weights_are_missing_until_they_are_kept_and_come_back_as_they_went(tmp_path: Path) -> None:
    held = HeldTensors(tmp_path / "held")
    assert held.missing([DIGEST]) == (DIGEST,) and held.digests() == ()
    held.keep(WEIGHTS, DIGEST)
    assert held.missing([DIGEST]) == () and held.digests() == (DIGEST,)
    assert torch.equal(held.tensors(DIGEST)["w"], WEIGHTS["w"])


def test_other_weights_than_those_announced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="digest"):
        HeldTensors(tmp_path).keep({"w": torch.zeros(2)}, DIGEST)
    assert not list(tmp_path.iterdir())


def test_changed_weights_are_thrown_away_so_that_they_are_sent_again(tmp_path: Path) -> None:
    held = HeldTensors(tmp_path)
    held.keep(WEIGHTS, DIGEST)
    (path,) = tmp_path.iterdir()
    path.write_bytes(save({"w": torch.zeros(2)}))
    with pytest.raises(ReleaseError, match="changed"):
        held.tensors(DIGEST)
    with pytest.raises(ReleaseError, match="cannot be read"):
        held.tensors(DIGEST)
    path.write_bytes(b"cut off")
    assert held.missing([DIGEST]) == (DIGEST,) and not path.exists()


def test_what_no_task_names_is_forgotten(tmp_path: Path) -> None:
    held, other = HeldTensors(tmp_path), {"w": torch.zeros(3)}
    held.keep(WEIGHTS, DIGEST)
    held.keep(other, digest_of(other))
    held.forget_but([DIGEST])
    assert held.digests() == (DIGEST,)


def test_a_digest_covers_names_values_and_shapes_and_not_the_order(tmp_path: Path) -> None:
    a, b = torch.zeros(2), torch.ones(2)
    assert digest_of({"x": a, "y": b}) == digest_of({"y": b, "x": a})
    different = [{"x": b, "y": a}, {"x": a, "z": b}, {"x": a[None], "y": b}, {"x": a.double(), "y": b}, {"x": a}]
    assert len({digest_of(each) for each in [*different, {"x": a, "y": b}]}) == 6
