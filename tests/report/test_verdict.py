"""What `gliofed-sim` prints: the verdict with what was missed, and one clear line where it cannot begin."""

from pathlib import Path

from common import console
from simulations.cli import app
from simulations.commands.run import print_verdict


def test_the_verdict_ends_with_what_was_missed_and_where_the_report_is(summary, capsys):
    print_verdict(summary.model_copy(update={"failures": ("hospital-b: p3: not completed",)}), Path("run"))
    shown = capsys.readouterr().out
    assert "not evaluated: hospital-b: p3: not completed" in shown
    assert shown.splitlines()[-2:] == ["missed: core change", "report: run/report.html"]


def test_a_run_without_judgement_does_not_claim_that_nothing_was_missed(summary, capsys):
    targets = tuple(target.model_copy(update={"status": "reported"}) for target in summary.targets)
    print_verdict(summary.model_copy(update={"targets": targets}), Path("run"))
    assert "no target is judged" in capsys.readouterr().out


def test_a_study_that_is_not_there_or_has_a_typo_is_one_clear_line(tmp_path, capsys):
    assert console.run(app, "gliofed-sim", ["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "study.toml").write_text('nmae = "typo"\n')
    assert console.run(app, "gliofed-sim", ["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "study.toml:1: nmae: unknown key" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_scenario_names_those_that_exist(tmp_path, capsys):
    assert console.run(app, "gliofed-sim", ["phantom", str(tmp_path / "out"), "--scenario", "nowhere"]) == 2
    shown = capsys.readouterr().err
    assert "three-hospitals" in shown and "one-sequence" in shown
    assert not (tmp_path / "out").exists()
