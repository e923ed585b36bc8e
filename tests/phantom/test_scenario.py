"""Scenario files: the shipped ones load, and a mistake is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import StudyError
from simulations.scenario import SCENARIO_FOLDER, load_scenario, parse_scenario, scenario_names

TEXT = (SCENARIO_FOLDER / "three-hospitals.cohort.toml").read_text()


def test_the_shipped_scenarios_load_under_their_own_names() -> None:
    assert scenario_names() == ("attack", "cbv", "one-sequence", "three-hospitals")
    for name in scenario_names()[1:]:
        scenario = load_scenario(name)
        assert scenario.name == name
        assert [site.name for site in scenario.sites] == ["hospital-a", "hospital-b", "hospital-c"]


def test_a_scenario_can_be_given_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.cohort.toml"
    path.write_text(TEXT.replace('"three-hospitals"', '"mine"', 1))
    assert load_scenario(path).name == "mine"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(StudyError, match="one-sequence, three-hospitals"):
        load_scenario("four-hospitals")


def test_gadolinium_takes_the_t1_protocol_unless_it_has_its_own() -> None:
    scanner = load_scenario("three-hospitals").sites[0].scanner
    assert scanner.protocol("T1Gd") == scanner.protocol("T1")


@pytest.mark.parametrize(
    ("found", "written", "message"),
    [
        ("disrupted = 0.5", "disruptd = 0.5", r":5: disruptd: unknown key"),
        ("separation = 1.19", "separation = -1", r":4: separation"),
        ("grades = [0.30, 0.25, 0.45]", "grades = [0.30, 0.25, 0.25]", "must sum to 1"),
        ('name = "hospital-b"', 'name = "hospital-a"', "named twice"),
        ("ti_ms = 900, ", "", "mprage needs"),
        ("te_ms = 95 }", "te_ms = 95, ti_ms = 100 }", "takes no inversion time"),
        ("te_ms = 95 }", "te_ms = 95, flip_deg = 10 }", "takes no flip angle"),
        ("field_tesla = 1.5", "field_tesla = 7.0", "1.5 and 3.0 T"),
        ("protocols.T2 = { equation", "protocols.ADC = { equation", "protocols: "),
        ("T1map = 0.25", "SWI = 0.25", "does not draw SWI"),
        ('labels = "whole"', 'labels = "full"', "whole-tumour ROI"),
        (
            "{ complete = 0.5, keep = { T1 = 0.85, T1Gd = 0.6, T2 = 0.75, FLAIR = 0.85, ADC = 0.3, CBV = 0.2 } }",
            "{}",
            "keep or",
        ),
        ("complete = 0.2, keep", "patterns = [['T1']], keep", "either keep or patterns"),
        ("schema_version = 1", "schema_version = 1 =", "not valid TOML"),
    ],
)
def test_a_mistake_is_refused_with_the_line_to_change(found: str, written: str, message: str) -> None:
    assert found in TEXT
    with pytest.raises(StudyError, match=message):
        parse_scenario(TEXT.replace(found, written, 1), "x.cohort.toml")


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("{ patterns = [[]] }", "without any sequence"),
        ("{ patterns = [['T1']], complete = 0.5 }", "stands alone"),
        ("{ keep = { T1 = 0.0 } }", "every probability is zero"),
    ],
)
def test_losses_that_leave_no_patient_are_refused(losses: str, message: str) -> None:
    kept = "{ complete = 0.2, keep = { T1 = 0.85, T1Gd = 0.15, T2 = 0.3, FLAIR = 0.8 } }"
    assert kept in TEXT
    with pytest.raises(StudyError, match=message):
        parse_scenario(TEXT.replace(kept, losses), "x")
