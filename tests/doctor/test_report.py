"""What a shared report holds, what the screen shows, how the program ends; and that each check has a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from client.cli import PROGRAM, app
from client.doctor.check import Check, Result, examine, exit_code
from client.doctor.finding import Mark, failed, passed, warned
from client.doctor.registry import TOPICS
from client.doctor.report import redacted
from client.doctor.screen import GLYPHS, table
from client.doctor.surroundings import Surroundings
from client.doctor.trial import Trial
from common.console import run
from common.errors import DataError, FederationError, GliofedError, PolicyError, StudyError
from tests.doctor.conftest import STUDY, Hospital, Usage, brain, write_scan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ruin(hospital: Hospital) -> Hospital:
    """A hospital in which much is wrong, so that much is said of it."""
    hospital.says("policy.minimum_patients = 7", 'connection.proxy = "http://jane:secret@127.0.0.1:9"')
    hospital.site.toml.chmod(0o644)
    hospital.site.key.chmod(0o644)
    hospital.site.work.chmod(0o755)
    first, second = hospital.scans / "smith-001", hospital.scans / "smith-002"
    write_scan(first / "smith-001_t1.nii.gz", brain(1, "t1"), "PatientName=Doe^Jane")
    (second / "smith-002_t1.nii.gz").write_bytes((hospital.scans / "smith-003/smith-003_t1.nii.gz").read_bytes())
    (second / "smith-002_flair.nii.gz").write_bytes(b"nothing")
    hospital.site.audit.joinpath("audit.jsonl").write_text("{}\n")
    hospital.site.approvals.joinpath("smith.json").write_text("{}")
    hospital.seams |= {
        "writable": lambda folder: True,
        "disk": lambda place: Usage(1, 1, 1),
        "attempt": lambda order: Trial(problem=f"it ended in {hospital.scans}"),
    }
    return hospital


def test_a_shared_report_holds_no_path_no_patient_and_no_word_of_the_sites(ruin: Hospital) -> None:
    around = ruin.around()
    results = examine(around, TOPICS, lambda check: None)
    text = redacted(results, around)
    said = " ".join(result.finding.what for result in results)
    assert "smith-001" in said, "the site itself is told everything"
    places = [ruin.world.folder, *ruin.world.folder.rglob("*")]
    secrets = {str(place) for place in places} | {place.name for place in places if place.suffix}
    secrets |= {each for case in around.catalog.cases for each in (case.case, case.patient)}
    secrets |= {"Doe", "Jane", "jane", "secret", "127.0.0.1", "localhost", "smith"}
    assert [secret for secret in secrets if secret in text] == []


def test_every_word_of_a_shared_report_is_this_programs_own(ruin: Hospital) -> None:
    around = ruin.around()
    report = json.loads(redacted(examine(around, TOPICS, lambda check: None), around))
    source = " ".join(path.read_text("utf-8") for path in (ROOT / "client").rglob("*.py"))
    source += (ROOT / "common/identity/signing.py").read_text("utf-8")
    assert report["site"] == "hospital-a"
    for entry in report["checks"]:
        assert set(entry) == {"check", "mark", "code", "figures"}
        assert not entry["code"] or f'"{entry["code"]}"' in source
        assert all(isinstance(value, float) for value in entry["figures"].values())


def test_a_code_that_is_no_word_is_withheld(hospital: Hospital) -> None:
    check = Check("any", "any", lambda around: passed("fine"), GliofedError)
    found = redacted([Result("any", check, failed("/data/smith-001", "what", "remedy"))], hospital.around())
    assert json.loads(found)["checks"][0]["code"] == "withheld"


def test_where_site_toml_cannot_be_read_the_rest_is_still_looked_at(tmp_path: Path, hospital: Hospital) -> None:
    hospital.site.toml.write_text("name = [")
    around = hospital.around()
    marks = {each.check.name: each.finding.mark for each in examine(around, TOPICS, lambda check: None)}
    assert marks["settings"] is Mark.FAIL
    assert {marks[name] for name in ("proxy", "catalog", "budget", "disk")} == {Mark.SKIP}
    assert {marks[name] for name in ("key", "kit", "memory", "swap", "versions")} == {Mark.PASS}
    assert json.loads(redacted([], around))["site"] is None


def test_a_check_that_breaks_is_told_and_the_others_go_on(hospital: Hospital) -> None:
    def broken(kind: str) -> list[str]:
        raise ZeroDivisionError

    found = hospital.ask("versions", version=broken)
    assert (found.mark, found.code) == (Mark.FAIL, "unexpected")
    assert "ZeroDivisionError" in found.what
    assert hospital.ask("swap").mark is Mark.PASS


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], 0),
        ([DataError], 3),
        ([DataError, GliofedError], 3),
        ([DataError, FederationError], 6),
        ([FederationError, PolicyError], 5),
        ([PolicyError, StudyError], 2),
        ([GliofedError], 1),
    ],
)
def test_the_gravest_failure_decides_the_exit_code(kinds: list[type[GliofedError]], status: int) -> None:
    results = [Result("t", Check("c", "", lambda _: passed(""), kind), failed("x", "", "")) for kind in kinds]
    fine = Check("c", "", lambda _: passed(""), StudyError)
    assert exit_code([*results, Result("t", fine, warned("x", "", "")), Result("t", fine, passed(""))]) == status


@pytest.mark.parametrize("width", [48, 80, 120])
def test_every_mark_is_a_word_and_no_line_is_cut(hospital: Hospital, width: int) -> None:
    from rich.console import Console

    results = examine(hospital.around(), TOPICS[:4], lambda check: None)
    for ascii_only in (True, False):
        out = Console(width=width, record=True, file=Path("/dev/null").open("w"), color_system=None)  # noqa: SIM115
        with out.file:
            out.print(table(results, width, ascii_only))
            text = out.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert text.isascii() is ascii_only
        for result in results:
            assert re.search(rf"^\S {result.finding.mark} +{result.check.name}", text, re.MULTILINE)
            assert "".join(result.finding.what.split())[:24] in "".join(text.split())
    assert len({glyph for glyph, _ in GLYPHS.values()}) == len(Mark)


def test_the_program_tells_reports_and_ends(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, report = tmp_path / "study.toml", tmp_path / "doctor.json"
    study.write_text(STUDY)
    words = ["doctor", "--site", str(hospital.site.toml), "--study", str(study), "--report", str(report)]
    only = [word for topic in ("enrolment", "network", "policy", "records") for word in ("--only", topic)]
    assert run(app, PROGRAM, [*words, *only]) == 0
    shown = capsys.readouterr().out
    assert "✓ pass" in shown
    assert "checks: " in shown
    assert json.loads(report.read_text())["counts"]["fail"] == 0
    hospital.site.key.chmod(0o644)
    assert run(app, PROGRAM, [*words, *only, "--json"]) == PolicyError.exit_code
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["fail"] == 1
    assert next(each for each in found["checks"] if each["check"] == "key")["remedy"].startswith("chmod 600 ")


def test_a_plan_brings_its_study_and_an_unknown_topic_is_refused(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--site", str(hospital.site.toml), "--only", "enrolment"]
    plan = tmp_path / "plan.json"
    plan.write_bytes(hospital.plan().to_bytes())
    assert run(app, PROGRAM, [*words, "--plan", str(plan)]) == 0
    assert "study gliomas names hospital-a" in capsys.readouterr().out
    assert run(app, PROGRAM, words) == 0, "the plan that was approved last"
    assert "study gliomas names hospital-a" in capsys.readouterr().out
    assert run(app, PROGRAM, [*words, "--plan", str(plan), "--study", str(plan)]) == StudyError.exit_code
    assert run(app, PROGRAM, ["doctor", "--only", "weather"]) == StudyError.exit_code


def test_every_check_has_a_test_that_breaks_it() -> None:
    tests = " ".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    asked = set(re.findall(r'\.ask\(\s*"([a-z-]+)"', tests))
    assert {check.name for topic in TOPICS for check in topic.checks} - asked == set()


def test_the_page_lists_every_check_with_its_exit_code() -> None:
    page = (ROOT / "docs/reference/doctor.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+?) \| (\d) \|$", page, re.MULTILINE)
    assert rows == [
        (check.name, topic.name, check.about, str(check.error.exit_code)) for topic in TOPICS for check in topic.checks
    ]


def test_the_surroundings_are_the_real_ones_by_default(hospital: Hospital) -> None:
    around = Surroundings(hospital.site)
    assert "MemAvailable" in (around.system("proc/meminfo") or "")
    assert around.system("no/such/file") is None
    assert around.resolve("localhost")
    assert around.writable(hospital.scans) or not around.writable(hospital.scans / "smith-001")
