"""Releases: what was written is read back, and any flipped byte is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.errors import ReleaseError
from common.records import Greys
from common.release import MANIFEST, load_release
from common.sequences import Domain, Sequence
from common.settings.stages import Stage
from server.registry import lineage, reference_greys


@pytest.fixture
def released(consortium: Any, tiny: SimpleNamespace) -> Path:
    study = tiny.make_study(stages__generator="rounds = 2\nlocal_steps = 1")
    return Path(consortium.run(study).release)


def test_a_release_comes_back_with_study_plan_lineage_and_domains(released: Path, tiny: SimpleNamespace) -> None:
    release = load_release(released)
    assert release.study.name == "tiny" and release.stages == (Stage.GENERATOR,)
    assert release.domains[:3] == (Domain("a", Sequence.T1), Domain("a", Sequence.T2), Domain("b", Sequence.T2))
    lineage = release.manifest.stages[Stage.GENERATOR].lineage
    assert (lineage.rounds, lineage.sites) == (2, {"a": 3, "b": 2})
    assert lineage.groups["domain/b:T2"] == ("b",) and "domain/b:T2:lesion" not in lineage.groups
    assert release.manifest.research_use_only and release.short == release.digest[:12]


def test_a_group_that_too_few_sites_trained_for_the_rule_has_no_trainers() -> None:
    sites = {site: {"code": "ok", "patients": {"shared": 2, f"domain/{site}:T1": 2}} for site in "ab"}
    told = lineage("0" * 16, [{"sites": sites, "too_few_sites": {"shared": 2}}])
    assert set(told.groups) == {"domain/a:T1", "domain/b:T1"} and told.sites == {"a": 2, "b": 2}


def test_a_runs_folder_leads_to_its_release(released: Path) -> None:
    assert load_release(released.parent).digest == load_release(released).digest


def test_the_released_model_carries_the_averaged_weights(
    released: Path, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.nets.stage_models.build_model", tiny.build)
    release = load_release(released)
    model = release.model(Stage.GENERATOR)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.state_dict()["trunk.weight"], release.tensors(Stage.GENERATOR)["trunk.weight"])


def test_weights_that_do_not_fit_the_networks_are_refused(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.nets.stage_models.build_model", lambda *_: torch.nn.Linear(2, 2))
    with pytest.raises(ReleaseError, match="do not fit"):
        load_release(released).model(Stage.GENERATOR)


def test_every_flipped_byte_is_found(released: Path) -> None:
    for name in (MANIFEST, "generator.safetensors"):
        whole = (released / name).read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 150)):
            flipped = bytearray(whole)
            flipped[position] ^= 0x01
            (released / name).write_bytes(flipped)
            with pytest.raises(ReleaseError):
                load_release(released)
        (released / name).write_bytes(whole)
    load_release(released)


def test_a_release_of_an_earlier_version_that_knew_fewer_settings_is_read(released: Path) -> None:
    tree = json.loads((released / MANIFEST).read_text())
    del tree["study"]["stages"]["generator"]["ema_decay"], tree["digest"]
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    tree["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    (released / MANIFEST).write_text(json.dumps(tree, sort_keys=True, indent=1) + "\n")
    release = load_release(released)
    assert release.digest == tree["digest"]
    assert release.study.stages.generator is not None and release.study.stages.generator.ema_decay == 0.999


def test_a_missing_file_or_folder_is_named(released: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="nowhere"):
        load_release(tmp_path / "nowhere")
    (released / "generator.safetensors").unlink()
    with pytest.raises(ReleaseError, match=r"generator\.safetensors"):
        load_release(released)


def test_a_stage_that_was_not_trained_is_named(released: Path) -> None:
    with pytest.raises(ReleaseError, match="no segmenter stage"):
        load_release(released).tensors(Stage.SEGMENTER)


def test_equal_runs_give_equal_releases(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(stages__generator="rounds = 1\nlocal_steps = 1")
    first, second = (consortium.run(study, where=name).release for name in ("one", "two"))
    assert (first / MANIFEST).read_bytes() == (second / MANIFEST).read_bytes()
    moved = shutil.copytree(first, first.parent / "copy")
    assert load_release(moved).digest == load_release(second).digest


def test_greys_are_the_reference_sites_where_it_holds_the_sequence(released: Path) -> None:
    greys = load_release(released).greys
    assert greys[Sequence.T1].site == "a" and greys[Sequence.T1].constants == {"centre": 101.0, "deviation": 20.0}
    manifest = load_release(released).manifest
    others = {"b": {Sequence.FLAIR: Greys(patients=2, constants={"centre": 7.0})}}
    found = reference_greys(manifest.study, manifest.plan, others)
    assert {sequence: entry.site for sequence, entry in found.items()} == {Sequence.FLAIR: "b"}


def test_the_manifest_says_nothing_of_a_single_patient(released: Path) -> None:
    text = (released / MANIFEST).read_text()
    assert "patient-" not in text and "case-" not in text
    assert json.loads(text)["identifier"] is None
