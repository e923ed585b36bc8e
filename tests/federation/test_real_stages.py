"""All real stages at their smallest, through the whole federation: they train, they report what may leave, they
resume to the same bytes. The identifier is validated; in a run of its own the generator is cross-fitted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from client.app import make_app
from client.data.cache import LabelKind, write_case
from client.inference.segment import segment_volume
from client.training.tasks import Bench
from common.approval.vocabulary import VOCABULARY
from common.parameters import group_of
from common.release import load_release
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import FOLDS, Stage
from server.events import RoundFinished
from simulations.federation import run_federation

SHAPE = (3, 32, 48)
ROUNDS = 'rounds = 2\nlocal_steps = 1\nbatch_size = 2\nlearning_rate_decay = "cosine"'


def write_head(folder: Path, number: int, sequences: tuple[Sequence, ...], kind: LabelKind, bbb: bool | None) -> None:
    """Write one case: an ellipse of brain with a lesion in it, other greys in each sequence."""
    generator = np.random.default_rng(number)
    _, h, w = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = (h**2 + w**2) < 0.8
    lesion = ((h - 0.2) ** 2 + (w - 0.1) ** 2) < 0.08
    arrays: dict[str, np.ndarray] = {"brain": brain.astype(np.uint8)}
    labels = np.where(lesion, 1 if kind is LabelKind.WHOLE else 4 if bbb else 2, 0)
    arrays["labels"] = (labels if kind is not LabelKind.NONE else np.zeros(SHAPE)).astype(np.uint8)
    for position, sequence in enumerate(sequences):
        image = 0.1 * position + 0.3 * h * w + 0.4 * lesion + generator.normal(0, 0.02, SHAPE)
        arrays[sequence.value] = np.where(brain, np.clip(image, -1, 1), -1).astype(np.float32)
    facts = {
        "case": f"case-{number}", "patient": f"patient-{number}", "sequences": [str(name) for name in sequences],
        "label_kind": kind.value, "bbb_disrupted": bbb, "native": {}, "greys": {},
        "affine": np.diag([2.4, 2.4, 4.0, 1.0]).tolist(),
    }  # fmt: skip
    write_case(folder / "work" / "cache" / f"{number}.safetensors", arrays, facts)


@pytest.fixture
def hospitals(tmp_path: Path) -> dict[str, Path]:
    """`a` has everything, six patients; `b` has T2 alone, without labels, three."""
    sites = {}
    for name in ("a", "b"):
        folder = tmp_path / "sites" / name
        for number in range(6 if name == "a" else 3):
            if name == "a":
                write_head(folder, number, STRUCTURAL, LabelKind.FULL, bool(number % 2))
            else:
                write_head(folder, number, (Sequence.T2,), LabelKind.NONE, None)
        (folder / "scans").mkdir()
        (folder / "site.toml").write_text(
            f'name = "{name}"\nfolder = "scans"\nworkdir = "work"\n'
            "[policy]\nminimum_patients = 1\napprove_everything = true\n"
        )
        sites[name] = folder / "site.toml"
    return sites


def cut_after_a_round_of(stage: Stage) -> Callable[[Any], None]:
    def cut(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.stage is stage:
            raise InterruptedError

    return cut


def test_a_round_of_a_3d_segmenter_ends_in_a_release_that_segments_a_volume(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study = tiny.make_study(
        stages__generator="rounds = 1\nlocal_steps = 1\nbatch_size = 2",
        stages__segmenter="rounds = 1\nlocal_steps = 1\nbatch_size = 2\ndimensions = 3\npatch = [16, 24, 4]",
    )
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    finished = run_federation(study, hospitals, tmp_path / "run", client=client)
    finished.require_complete()
    record = json.loads((finished.out / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["stage"] == "segmenter" and record["sat_out"] == ["b"] and "training.loss" in record["metrics"]
    model = load_release(finished.out).model(Stage.SEGMENTER)
    site = tiny.open_cached(hospitals["a"], study)
    case = site.training.cases[0]
    found = segment_volume(model, np.stack([case.slices(sequence) for sequence in STRUCTURAL]))
    assert found.shape == (3, *SHAPE) and bool((found[:, case.brain() > 0] > 0).all())


def test_all_stages_train_report_and_resume(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = tiny.make_study(
        data="holdout_fraction = 0.2",
        assessment="enabled = true",
        stages__generator=ROUNDS,
        stages__synthesiser=ROUNDS + "\ndiffusion_steps = 20\nsampling_steps = 2",
        stages__segmenter="rounds = 2\nlocal_steps = 12\nbatch_size = 2\nlearning_rate = 0.02\nema_decay = 0.0",
        stages__identifier=ROUNDS,
    )
    assert study.stages.present == tuple(s for s in Stage if s not in (*FOLDS, Stage.MAPS))  # see test_maps_stage
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    seen: set[str] = set()

    whole = run_federation(study, hospitals, tmp_path / "whole" / "run", client=client)
    whole.require_complete()
    assert whole.faults == () and "not in the vocabulary" not in caplog.text
    records = [json.loads(line) for line in (whole.out / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        assert record["sites"]["a"]["withheld"] == []
        seen |= set(record["metrics"])
    assert seen <= VOCABULARY and {"training.discriminator", "training.synthesis", "held_out.mae"} <= seen
    sat_out = {record["stage"]: record["sat_out"] for record in records}
    assert list(sat_out.values()) == [[], ["b"], ["b"], ["b"], ["b"]]

    out = tmp_path / "cut" / "run"
    for stage in (Stage.GENERATOR, Stage.SEGMENTER):
        with pytest.raises(InterruptedError):
            cut = cut_after_a_round_of(stage)
            run_federation(study, hospitals, out, client=client, on_event=cut, resume=stage is not Stage.GENERATOR)
    resumed = run_federation(study, hospitals, out, client=client, resume=True)
    assert resumed.release_digest == whole.release_digest

    release = load_release(whole.out)
    dossier = release.assessment()
    assert dossier is not None and {site: each.code for site, each in dossier.sites.items()} == {"a": "ok", "b": "ok"}
    assert {(row.assessor, row.of) for row in dossier.matrix if row.sites} == {
        *(("translation", sequence.value) for sequence in STRUCTURAL),
        *(("segmentation", region) for region in ("WT", "TC", "ET")),
    }
    assert not any(each.failed for each in dossier.sites.values())
    facts = release.manifest.identifier
    assert release.stages == study.stages.present[:-1] == study.stages.released  # all but the calibration
    assert facts is not None and facts.fitted and facts.validation == {"a": 2}
    models = {stage: release.model(stage) for stage in release.stages}
    assert all(tensor.isfinite().all() for model in models.values() for tensor in model.state_dict().values())
    groups = release.manifest.stages[Stage.GENERATOR].lineage.groups
    assert groups["domain/b:T2"] == ("b",) and groups["domain/a:T1:lesion"] == ("a",)
    heads = {group_of(name) for name in models[Stage.GENERATOR].state_dict()}
    assert "domain/b:T2:lesion" in heads and "domain/b:T2:lesion" not in groups


def test_a_site_with_too_few_patients_for_a_fold_sits_it_out_and_the_run_ends_well(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hospitals["a"].write_text(hospitals["a"].read_text().replace("minimum_patients = 1", "minimum_patients = 4"))
    study = tiny.make_study(
        ("a",),
        federation='required = ["a"]\nquorum = 1',
        stages__generator="rounds = 2\nlocal_steps = 1\nbatch_size = 2\ncross_fit = true",
        stages__synthesiser="rounds = 1\nlocal_steps = 1\nbatch_size = 2\ndiffusion_steps = 20\nsampling_steps = 2",
    )
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    done = run_federation(study, {"a": hospitals["a"]}, tmp_path / "run", client=client)
    done.require_complete()
    assert done.faults == ()
    records = [json.loads(line) for line in (done.out / "metrics.jsonl").read_text().splitlines()]
    sat_out = [(record["stage"], record["sat_out"]) for record in records]
    folds = [(fold.value, ["a"]) for fold in FOLDS for _ in range(2)]
    assert sat_out == [("generator", [])] * 2 + folds + [("synthesiser", [])]
    assert "the generator of all fills T1, T1Gd, T2, FLAIR" in caplog.text


def test_a_cross_fit_trains_two_more_generators_on_half_the_patients_and_does_not_release_them(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study = tiny.make_study(
        stages__generator="rounds = 1\nlocal_steps = 1\nbatch_size = 2\ncross_fit = true",
        stages__synthesiser="rounds = 1\nlocal_steps = 1\nbatch_size = 2\ndiffusion_steps = 20\nsampling_steps = 2",
    )
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    done = run_federation(study, hospitals, tmp_path / "run", client=client)
    done.require_complete()
    records = [json.loads(line) for line in (done.out / "metrics.jsonl").read_text().splitlines()]
    assert [record["stage"] for record in records] == ["generator", *FOLDS, "synthesiser"]
    whole, first, second = (record["sites"]["a"]["patients"]["shared"] for record in records[:3])
    assert (whole, first, second) == (6, 3, 3)
    assert load_release(done.out).stages == (Stage.GENERATOR, Stage.SYNTHESISER)


def test_real_networks_train_while_norms_and_a_discriminator_stay_at_their_sites(
    hospitals: dict[str, Path], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study = tiny.make_study(
        aggregation='local_norms = true\nproximal_weight = 0.1\nserver_optimiser = "momentum"\nbeta_1 = 0.5',
        stages__generator="rounds = 2\nlocal_steps = 1\nbatch_size = 2\ndiscriminator = 'local'",
        stages__segmenter="rounds = 2\nlocal_steps = 1\nbatch_size = 2",
    )
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    done = run_federation(study, hospitals, tmp_path / "run", client=client)
    done.require_complete()
    assert done.faults == ()
    groups = load_release(done.out).manifest.stages[Stage.GENERATOR].lineage.groups
    assert groups["norms"] == groups["shared"] == ("a", "b") and "local" not in groups
    kept = {name for path in tmp_path.glob("sites/b/work/state/*/generator/2.local.safetensors")
            for name in load_file(path)}  # fmt: skip
    assert any(name.startswith("discriminator.trunk") for name in kept) and any(".encode." in name for name in kept)
    first = load_file(done.out / "rounds" / "generator" / "1" / "global.safetensors")
    last = load_file(done.out / "rounds" / "generator" / "2" / "global.safetensors")
    same = {name for name in first if torch.equal(first[name], last[name])}
    assert {name for name in first if name.startswith("discriminator.")} <= same
    assert not any(name.startswith("generator.backbone.decode") for name in same)
