"""First weights of the identifier: taken where file, hash and shapes agree, refused otherwise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from common.errors import ReleaseError, StudyError
from common.nets.stage_models import build_model
from common.parameters import StateDict
from common.plan import Plan
from common.seeding import torch_generator
from common.settings.stages import Stage
from common.study import Study
from server.first_weights import check_fit, read_first_weights
from server.stages import open_stage


@pytest.fixture
def weights() -> StateDict:
    """Weights of another seed."""
    from common.nets.identifier import Identifier

    torch.manual_seed(7)
    return {name: tensor.clone() for name, tensor in Identifier("tiny").state_dict().items()}


def asking_for(tiny: SimpleNamespace, digest: str | None) -> Study:
    line = f'weights_sha256 = "{digest}"' if digest else ""
    return tiny.make_study(
        stages__synthesiser="rounds = 1", stages__segmenter="rounds = 1", stages__identifier=f"rounds = 1\n{line}"
    )


def test_the_stage_begins_with_the_file_s_weights_and_no_other_stage_does(
    tiny: SimpleNamespace, weights: StateDict, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(weights))
    study = asking_for(tiny, hashlib.sha256(path.read_bytes()).hexdigest())
    given = read_first_weights(study, path)
    plan = Plan(study_digest=study.digest, inventory=())
    opened = open_stage(Stage.IDENTIFIER, study, plan, build_model, given)
    assert all(torch.equal(opened.initial[name], tensor) for name, tensor in weights.items())
    other = build_model(Stage.SEGMENTER, study, (), torch_generator(study.seed, "initial", "segmenter")).state_dict()
    untouched = open_stage(Stage.SEGMENTER, study, plan, build_model, given)
    assert all(torch.equal(untouched.initial[name], tensor) for name, tensor in other.items())


def test_a_changed_byte_or_a_file_of_another_kind_is_refused(
    tiny: SimpleNamespace, weights: StateDict, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(weights))
    with pytest.raises(ReleaseError, match="SHA-256"):
        read_first_weights(asking_for(tiny, "0" * 64), path)
    path.write_bytes(b"a pickle")
    with pytest.raises(ReleaseError, match="safetensors"):
        read_first_weights(asking_for(tiny, hashlib.sha256(b"a pickle").hexdigest()), path)


def test_study_and_file_need_each_other(tiny: SimpleNamespace, tmp_path: Path) -> None:
    assert read_first_weights(asking_for(tiny, None), None) is None
    with pytest.raises(StudyError, match="weights_sha256"):
        read_first_weights(asking_for(tiny, None), tmp_path / "weights.safetensors")
    with pytest.raises(StudyError, match="--identifier-weights"):
        read_first_weights(asking_for(tiny, "0" * 64), None)


@pytest.mark.parametrize("spoil", ["missing", "more", "shape", "type"])
def test_weights_of_another_network_are_refused(weights: StateDict, spoil: str) -> None:
    name = sorted(weights)[0]
    spoilt = {
        "missing": {key: tensor for key, tensor in weights.items() if key != name},
        "more": weights | {"more": torch.zeros(1)},
        "shape": weights | {name: torch.zeros(1, 2, 3)},
        "type": weights | {name: weights[name].double()},
    }[spoil]
    with pytest.raises(ReleaseError, match=r"in 1 of \d+ tensors"):
        check_fit(spoilt, weights)
    assert check_fit(weights, weights) == weights
