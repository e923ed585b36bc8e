"""`gliofed-server`: what `check` and `verify` print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.console import run
from common.errors import StudyError
from common.study import parse_study
from server.cli import PROGRAM, app
from server.config import read_run_config
from server.study_text import to_toml


def test_check_prints_the_digest_that_a_site_approves(
    tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(to_toml(tiny.make_study()))
    assert run(app, PROGRAM, ["check", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["digest"] == tiny.make_study().digest and facts["quorum"] == "1 of 2"
    assert facts["stages"][0] == {
        "stage": "generator", "rounds": 3, "local_steps": 3, "batch_size": 8, "learning_rate": 1e-3, "ema_decay": 0.5,
    }  # fmt: skip
    assert run(app, PROGRAM, ["check", str(path)]) == 0
    assert tiny.make_study().digest in capsys.readouterr().out


def test_check_names_the_line_of_a_typo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "s"\nsites = ["a"]\nreference_site = "a"\n[stages.generator]\nronds = 3\n')
    assert run(app, PROGRAM, ["check", str(path)]) == StudyError.exit_code
    assert ":5: stages.generator.ronds" in capsys.readouterr().err


def test_verify_passes_a_release_and_stops_at_one_flipped_byte(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    result = consortium.run(tiny.make_study(stages__generator="rounds = 1\nlocal_steps = 1"))
    assert run(app, PROGRAM, ["verify", str(result.out)]) == 0
    assert result.release_digest[:12] in capsys.readouterr().out
    assert run(app, PROGRAM, ["verify", str(result.release), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == result.release_digest
    weights = result.release / "generator.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    assert run(app, PROGRAM, ["verify", str(result.release)]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_study_comes_back_from_its_text(tiny: SimpleNamespace) -> None:
    study = tiny.make_study(stages__synthesiser="rounds = 2", federation='required = ["b"]\nquorum = 2')
    assert parse_study(to_toml(study)) == study


def test_a_run_configuration_with_a_typo_or_a_gap_is_refused() -> None:
    assert read_run_config({"study": "s.toml", "out": "run", "roster": "r.toml", "resume": True}).resume
    with pytest.raises(StudyError, match="stdy"):
        read_run_config({"stdy": "s.toml", "out": "run"})
    with pytest.raises(StudyError, match="study"):
        read_run_config({"study": "", "out": "run", "resume": False})
