"""The coordinator's figures are those of its journals, whatever state they are in, and looking changes nothing."""

import ast
import hashlib
import os
import shutil
import threading
import time

import pytest

from common.records import OK
from common.settings.stages import Stage
from server.journal import Journal
from server.monitoring.runs import REFUSALS, STATES, Runs
from server.result import SiteFault
from simulations.chaos.arithmetic import arithmetic_study


def figures(runs):
    found = {}
    for sample in runs.samples():
        found.setdefault(sample.metric.name.removeprefix("gliofed_server_"), {})[sample.labels] = sample.value
    return found


def state_of(found, run):
    return [state for state in STATES if found["run_state"][run, state] == 1]


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def journal(runs):
    """A run that is driven here: planned, none of its rounds counts yet."""
    study = arithmetic_study(("a", "b"))
    with Journal.open(runs.folder / "now", study, resume=False) as journal:
        yield journal


def test_a_complete_run_is_told_by_its_records(consortium):
    found = figures(Runs(consortium.runs))
    assert state_of(found, "first") == ["complete"]
    for stage in ("generator", "synthesiser"):
        assert found["rounds_done"]["first", stage] == found["rounds_planned"]["first", stage] == 2
        assert found["round_seconds"]["first", stage] > 0
    for site in ("hospital-a", "hospital-b"):
        assert found["updates_accepted_total"]["first", site] == 4
        assert found["updates_refused_total"]["first", site] == found["faults_total"]["first", site] == 0
        assert found["bytes_total"]["first", site, "up"] > 0
        assert found["alarms_total"]["first", site, "mode-collapse"] == 0
    assert "open_round_number" not in found
    assert "fault_codes_total" not in found
    with Journal.look_into(consortium.run("first")) as journal:
        records = [record for stage in journal.study.stages.present for record in journal.records(stage)]
    sent = sum(record["sites"]["hospital-a"]["bytes_down"] for record in records)
    assert found["bytes_total"]["first", "hospital-a", "down"] == sent


def test_looking_changes_no_byte(consortium):
    def digests():
        folder = consortium.run("first")
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}

    before = digests()
    figures(Runs(consortium.runs))
    assert digests() == before


def test_the_open_round_of_a_driven_run_grows_old_and_its_faults_are_told_apart(runs, journal):
    journal.begin_attempt(Stage.GENERATOR, 1)
    for fault in (SiteFault("a", "replayed", Stage.GENERATOR, 1), SiteFault("a", "late"), SiteFault("b", "late")):
        journal.note_fault(fault)
    found = figures(runs)
    assert state_of(found, "now") == ["running"]
    assert found["open_round_number"]["now", "generator"] == 1
    assert found["open_round_updates"]["now", "generator"] == 0
    assert found["open_round_deadline_seconds"]["now", "generator"] == journal.study.deadline_s(Stage.GENERATOR)
    assert found["updates_refused_total"] == {("now", "a"): 1, ("now", "b"): 0}
    assert found["faults_total"] == {("now", "a"): 2, ("now", "b"): 1}
    assert found["fault_codes_total"] == {
        ("now", "a", "generator", "replayed"): 1,
        ("now", "a", "inventory", "late"): 1,
        ("now", "b", "inventory", "late"): 1,
    }


def test_a_round_is_as_old_as_the_round_before_it_and_pauses_do_not_age_it(runs, journal):
    plan = journal.out / "plan.json"
    plan.write_text("{}")
    an_hour_ago = time.time() - 3600
    os.utime(plan, (an_hour_ago, an_hour_ago))
    age = figures(runs)["open_round_age_seconds"]["now", "generator"]
    assert age == pytest.approx(3600, abs=5)
    from server.operation.steering import pause, resume

    pause(journal.out)
    found = figures(runs)
    assert state_of(found, "now") == ["paused"]
    assert "open_round_age_seconds" not in found
    resume(journal.out, None, journal.out)
    assert figures(runs)["open_round_age_seconds"]["now", "generator"] < 5


def test_a_run_that_nobody_drives_is_interrupted(runs, journal):
    journal.close()
    assert state_of(figures(runs), "now") == ["interrupted"]


def test_a_damaged_journal_is_a_state_and_hides_no_other_run(runs, journal, consortium):
    damaged = runs.folder / "damaged"
    shutil.copytree(consortium.run("first"), damaged)
    (damaged / "journal" / "journal.sqlite").write_bytes(b"no database at all" * 100)
    found = figures(runs)
    assert (state_of(found, "damaged"), state_of(found, "now")) == (["damaged"], ["running"])
    assert not [labels for labels in found["rounds_done"] if labels[0] == "damaged"]


def test_a_folder_without_a_run_and_a_run_that_only_begins_are_not_touched(runs):
    assert figures(runs) == {}
    beginning = runs.folder / "beginning" / "journal"
    beginning.mkdir(parents=True)
    (beginning / "journal.sqlite").touch()
    assert figures(runs) == {}
    assert (beginning / "journal.sqlite").read_bytes() == b""


def test_a_journal_is_read_again_only_once_it_has_changed(runs, journal, monkeypatch):
    reads, really = [], Journal.look_into
    monkeypatch.setattr(Journal, "look_into", lambda out: reads.append(out) or really(out))
    for _ in range(3):
        figures(runs)
    assert len(reads) <= 2  # the first look may itself fold the log into the file
    before = len(reads)
    journal.note_fault(SiteFault("a", "late", Stage.GENERATOR, 1))
    assert figures(runs)["faults_total"]["now", "a"] == 1
    assert len(reads) == before + 1


def test_those_who_look_at_once_do_not_take_each_other_for_a_driver(runs, journal):
    from server.journal.journal import LOCK
    from server.journal.lease import Lease

    lock = journal.out / LOCK
    journal.close()
    seen = []
    threads = [threading.Thread(target=lambda: seen.extend(Lease.is_taken(lock) for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] * 800


def test_every_code_of_the_gate_is_a_refusal(repository):
    from server.round.one_round import LARGE_NORM

    codes = {LARGE_NORM}
    for path in [*repository.glob("server/**/*.py"), *repository.glob("common/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "WireError" and node.args:
                codes |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    assert not codes - REFUSALS, "add them to REFUSALS of server/monitoring/runs.py"
    assert OK not in REFUSALS
