"""What the codings save, and what they cost: real networks on phantoms, three seeds, the same patients each time.

Measured once in docs/evidence/wire.md; `-rP` shows the figures.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.config import load_site
from client.inference.segment import labels_of, segment_volume
from client.site import open_site
from common.metrics.overlap import dice
from common.release import load_release
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import Study, parse_study
from simulations.consortium import write_site_files
from simulations.federation import run_federation
from simulations.phantom.cohort import write_cohort
from simulations.scenario import Losses, load_scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SITES = ("hospital-a", "hospital-b")
SEEDS = (1, 2, 3)
T_OF_TWO = 4.303
"""Student's t, 2 degrees of freedom, 95 % both sides."""
LOSS = 0.02
"""Dice that may be lost, of the whole tumour."""

WIRE = {
    "lossless": 'down = "lossless"\nup = "lossless"',
    "bf16": 'down = "bf16"\nup = "bf16"',
    "int8": 'down = "bf16"\nup = "int8"',
}
STUDY = """
name = "wire"
seed = {seed}
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
data.holdout_fraction = 0.4
federation.quorum = 2
reporting.minimum_count = 1
[wire]
{wire}
[stages.generator]
rounds = 2
local_steps = 1
batch_size = 2
[stages.segmenter]
rounds = 6
local_steps = 20
batch_size = 8
learning_rate = 4e-3
learning_rate_decay = "cosine"
fill_probability = 0.0
deep_supervision = false
foreground_share = 0.6
mirror_axes = []
test_flips = false
ema_decay = 0.9
"""


def study_of(seed: int, wire: str) -> Study:
    return parse_study(STUDY.format(seed=seed, wire=WIRE[wire]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantom hospitals of ten complete patients each."""
    folder: Path = tmp_path_factory.mktemp("wire")
    scenario = load_scenario("three-hospitals")
    whole = [one.model_copy(update={"losses": Losses(patterns=(STRUCTURAL,))}) for one in scenario.sites]
    hospitals = tuple(one for one in whole if one.name in SITES)
    write_cohort(folder / "phantom", scenario.model_copy(update={"sites": hospitals}), 10, 1, 4.0)
    return folder


def share_of_all(out: Path, study: Study, stage: Stage) -> float:
    """Bytes of a stage against all its tensors in fp32 to each site and back, earlier models left out."""
    values = sum(tensor.numel() for tensor in load_release(out).tensors(stage).values())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    entries = [entry for line in lines if line["stage"] == stage.value for entry in line["sites"].values()]
    carried = 0 if stage is Stage.GENERATOR else _earlier_bytes(out, study, stage)
    sent = sum(entry["bytes_down"] + entry["bytes_up"] for entry in entries) - carried
    return sent / (2 * 4 * values * len(entries))


def _earlier_bytes(out: Path, study: Study, stage: Stage) -> int:
    before = study.stages.present[: study.stages.present.index(stage)]
    tensors = [tensor for each in before for tensor in load_release(out).tensors(each).values()]
    return len(SITES) * sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held_out_dice(out: Path, files: dict[str, Path], study: Study) -> float:
    """Mean over the held-out patients of the whole tumour's Dice under the released segmenter."""
    model = load_release(out).model(Stage.SEGMENTER)
    found = [
        dice(labels_of(segment_volume(model, np.stack([case.slices(s) for s in STRUCTURAL]))) > 0, case.labels() > 0)
        for site in SITES
        for case in open_site(load_site(files[site]), study).held_out.cases
    ]
    return float(np.mean(found))


def measure(place: Path, seed: int, wire: str) -> dict[str, float]:
    """Train one arm and measure it."""
    study, out = study_of(seed, wire), place / f"{wire}-{seed}"
    files = write_site_files(study, place / "phantom" / "sites", place / "sites")
    for site in SITES:
        shutil.rmtree(place / "sites" / site / "state", ignore_errors=True)
    result = run_federation(study, files, out, workdirs=place / "sites")
    assert result.status == "complete"
    last: dict[str, Any] = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        "dice": held_out_dice(out, files, study),
        "loss": last["metrics"]["held_out.loss"],
        "segmenter": share_of_all(out, study, Stage.SEGMENTER),
        "generator": share_of_all(out, study, Stage.GENERATOR),
    }


@pytest.fixture(scope="module")
def measured(place: Path) -> dict[str, list[dict[str, float]]]:
    found = {wire: [measure(place, seed, wire) for seed in SEEDS] for wire in WIRE}
    for wire, rows in found.items():
        for seed, row in zip(SEEDS, rows, strict=True):
            print(wire, seed, {name: round(value, 4) for name, value in row.items()})  # noqa: T201
    return found


@pytest.mark.parametrize(("wire", "limit"), [("lossless", 1.01), ("bf16", 0.5), ("int8", 0.4)])
@pytest.mark.parametrize("stage", ["generator", "segmenter"])
def test_a_coded_wire_carries_no_more_than_its_share(measured: Any, wire: str, limit: float, stage: str) -> None:
    assert max(row[stage] for row in measured[wire]) <= limit


@pytest.mark.parametrize("wire", ["bf16", "int8"])
def test_a_coded_wire_costs_no_dice(measured: Any, wire: str) -> None:
    pairs = zip(measured["lossless"], measured[wire], strict=True)
    lost = np.array([exact["dice"] - coded["dice"] for exact, coded in pairs])
    spread = T_OF_TWO * lost.std(ddof=1) / np.sqrt(len(lost))
    print(f"{wire}: Dice lost {lost.mean():.4f}, 95 % {lost.mean() - spread:.4f} … {lost.mean() + spread:.4f}")  # noqa: T201
    assert min(row["dice"] for row in measured["lossless"]) > 0.5  # something was learnt
    assert lost.mean() <= LOSS and lost.mean() - spread <= 0
