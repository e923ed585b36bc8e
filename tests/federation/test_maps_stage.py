"""The maps stage through the whole federation: who contributes, who sits out, and that a cut run resumes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from client.app import make_app
from client.data.cache import LabelKind, write_case
from client.training.tasks import Bench
from common.approval.vocabulary import VOCABULARY
from common.nets.map_synthesiser import MapSynthesiser
from common.release import load_release
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage
from common.study import parse_study
from server.events import RoundFinished
from simulations.federation import run_federation

SHAPE = (3, 32, 48)
HELD = {
    "a": (*STRUCTURAL, Sequence.ADC, Sequence.CBV),
    "b": (Sequence.T1, Sequence.CBV),
    "c": (Sequence.T1, Sequence.T2),
}
STUDY = """
name = "maps"
sites = ["a", "b", "c"]
reference_site = "a"
sequences = ["T1", "T1Gd", "T2", "FLAIR", "ADC", "CBV"]
[data]
holdout_fraction = 0.34
[reporting]
minimum_count = 1
[stages.generator]
rounds = 1
local_steps = 1
batch_size = 2
[stages.maps]
rounds = 2
local_steps = 2
batch_size = 2
objective = "pix2pix"
ssim_weight = 0.1
ema_decay = 0.0
"""


@pytest.fixture
def hospitals(tmp_path: Path, tiny: SimpleNamespace) -> dict[str, Path]:
    """Three patients each: `a` has everything, `b` T1 and CBV, `c` no CBV."""
    brain = np.ones(SHAPE, dtype=np.uint8)
    sites = {}
    for site, sequences in HELD.items():
        sites[site] = tiny.write_site(tmp_path / "sites" / site, site, 0, sequences)
        for number in range(3):
            noise = np.random.default_rng(number)
            arrays = {name.value: noise.uniform(-1, 1, SHAPE).astype(np.float32) for name in sequences}
            facts = {
                "case": f"case-{number}", "patient": f"patient-{number}", "sequences": list(map(str, sequences)),
                "label_kind": LabelKind.NONE.value, "bbb_disrupted": None, "affine": np.eye(4).tolist(), "native": {},
                "greys": {},
            }  # fmt: skip
            path = sites[site].parent / "work" / "cache" / f"{number}.safetensors"
            write_case(path, {**arrays, "brain": brain, "labels": np.zeros_like(brain)}, facts)
    return sites


def test_sites_with_the_target_train_one_model_and_the_others_sit_out(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study, client = parse_study(STUDY), make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    whole = run_federation(study, hospitals, tmp_path / "whole" / "run", client=client)
    whole.require_complete()
    records = [json.loads(line) for line in (whole.out / "metrics.jsonl").read_text().splitlines()]
    maps = [record for record in records if record["stage"] == "maps"]
    assert [record["sat_out"] for record in maps] == [["c"], ["c"]]
    assert maps[0]["sites"]["a"]["patients"] == maps[0]["sites"]["b"]["patients"] == {"shared": 2}
    reported = set(maps[0]["metrics"])
    assert {"training.discriminator", "training.dissimilarity", "held_out.mae", "held_out.ssim"} <= reported
    assert reported <= VOCABULARY

    release = load_release(whole.out)
    assert release.stages == (Stage.GENERATOR, Stage.MAPS)
    assert isinstance(release.model(Stage.MAPS), MapSynthesiser)
    assert release.manifest.stages[Stage.MAPS].lineage.sites == {"a": 2, "b": 2}

    def cut(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.stage is Stage.MAPS:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_federation(study, hospitals, tmp_path / "cut" / "run", client=client, on_event=cut)
    resumed = run_federation(study, hospitals, tmp_path / "cut" / "run", client=client, resume=True)
    assert resumed.release_digest == whole.release_digest
