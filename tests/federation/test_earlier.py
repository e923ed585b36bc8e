"""Earlier stages' weights at a site: kept by digest, verified on use."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from client.training.earlier import EarlierModels
from common.errors import ReleaseError
from common.settings.stages import Stage

WEIGHTS = {"w": torch.tensor([1.0, 2.0])}
DIGEST = hashlib.sha256(save(WEIGHTS)).hexdigest()


def test_weights_are_missing_until_they_are_kept_and_come_back_as_they_went(tmp_path: Path) -> None:
    earlier = EarlierModels(tmp_path)
    assert earlier.missing({Stage.GENERATOR: DIGEST}) == (Stage.GENERATOR,)
    earlier.keep(Stage.GENERATOR, WEIGHTS, DIGEST)
    assert earlier.missing({Stage.GENERATOR: DIGEST}) == ()
    assert torch.equal(earlier.tensors(Stage.GENERATOR, DIGEST)["w"], WEIGHTS["w"])


def test_other_weights_than_those_announced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="digest"):
        EarlierModels(tmp_path).keep(Stage.GENERATOR, {"w": torch.zeros(2)}, DIGEST)
    assert not list(tmp_path.iterdir())


def test_changed_weights_are_thrown_away_so_that_they_are_sent_again(tmp_path: Path) -> None:
    earlier = EarlierModels(tmp_path)
    earlier.keep(Stage.GENERATOR, WEIGHTS, DIGEST)
    (path,) = tmp_path.iterdir()
    path.write_bytes(save({"w": torch.zeros(2)}))
    with pytest.raises(ReleaseError, match="changed"):
        earlier.tensors(Stage.GENERATOR, DIGEST)
    assert earlier.missing({Stage.GENERATOR: DIGEST}) == (Stage.GENERATOR,)
    with pytest.raises(ReleaseError, match="cannot be read"):
        earlier.tensors(Stage.GENERATOR, DIGEST)
