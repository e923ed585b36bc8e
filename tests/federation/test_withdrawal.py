"""Sites and patients who go: later rounds are without them, and the journal says what they touched."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from client.cli import PROGRAM as CLIENT
from client.cli import app as client_app
from client.privacy.withdrawal import participation, runs_of, withdraw_patient, withdrawn_from, withdrawn_patients
from client.training.folds import folds_of
from client.training.validation import validation_patients
from common.console import run as call
from common.errors import DataError
from common.sequences import Sequence
from server.cli import PROGRAM, app
from server.events import RoundFinished, RoundStarted, SiteAnswered, StageFinished


def server(*words: Any) -> int:
    return call(app, PROGRAM, [str(word) for word in words])


def after_round(number: int, act: Any) -> Any:
    def listen(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == number:
            act()

    return listen


def test_a_withdrawn_site_is_left_out_of_later_rounds_and_what_it_touched_is_known(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []
    out = consortium.root / "run"

    def listen(event: Any) -> None:
        if isinstance(event, RoundStarted):
            asked.append(event.sites)
        after_round(1, lambda: server("withdraw", out, "--site", "b"))(event)

    result = consortium.run(tiny.make_study(), on_event=listen)
    assert result.status == "complete" and asked == [("a", "b"), ("a",), ("a",)]
    assert [str(fault) for fault in result.faults] == ["b: withdrawn (inventory)"]
    (entry,) = json.loads((out / "withdrawn.json").read_text())
    assert (entry["site"], entry["patients"], entry["rounds"]) == ("b", None, [["generator", 1]])
    assert entry["releases"] == [result.release_digest]
    capsys.readouterr()
    assert server("status", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["withdrawals"] == [entry]


def test_a_site_that_is_withdrawn_within_a_round_has_no_part_in_it(consortium: Any, tiny: SimpleNamespace) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (1, "b"):
            server("withdraw", consortium.root / "with" / "run", "--site", "b")

    study = tiny.make_study()
    result = consortium.run(study, where="with", on_event=listen)
    assert json.loads((result.out / "withdrawn.json").read_text())[0]["rounds"] == []
    record = json.loads((result.out / "rounds" / "generator" / "1" / "round.json").read_text())
    assert record["sites"]["b"]["code"] == "withdrawn" and "patients" not in record["sites"]["b"]
    assert record["sites"]["a"]["code"] == "ok"


def test_a_run_whose_required_site_is_withdrawn_ends_as_incomplete(consortium: Any, tiny: SimpleNamespace) -> None:
    withdraw = after_round(1, lambda: server("withdraw", consortium.root / "run", "--site", "b"))
    result = consortium.run(tiny.make_study(federation='required = ["b"]'), on_event=withdraw)
    assert result.status == "incomplete" and "lacks b" in str(result.reason)


def test_a_site_that_the_study_does_not_name_cannot_be_withdrawn(consortium: Any, tiny: SimpleNamespace) -> None:
    consortium.run(tiny.make_study())
    assert server("withdraw", consortium.root / "run", "--site", "c") == 2


def test_a_withdrawn_patient_is_in_no_later_round_and_the_coordinator_learns_a_count(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    site, work = str(consortium.sites["a"]), consortium.root / "sites" / "a" / "work"
    withdraw = after_round(2, lambda: call(client_app, CLIENT, ["withdraw", "patient-1", "--site", site, "--json"]))
    result = consortium.run(tiny.make_study(), on_event=withdraw)
    assert result.status == "complete" and result.faults == ()
    said = json.loads(capsys.readouterr().out)
    assert said == {"patient": "patient-1", "runs": {result.run: [["generator", 1], ["generator", 2]]}}
    assert [number for _, number in participation(work, result.run).rounds_of("patient-0")] == [1, 2, 3]
    assert runs_of(work, "patient-1") == {result.run: [("generator", 1), ("generator", 2)]}
    patients = [
        json.loads((result.out / "rounds" / "generator" / str(number) / "round.json").read_text())["sites"]["a"][
            "patients"
        ]
        for number in (2, 3)
    ]
    assert [each["shared"] for each in patients] == [3, 2]
    (entry,) = json.loads((result.out / "withdrawn.json").read_text())
    assert (entry["site"], entry["patients"]) == ("a", 1)
    assert entry["rounds"] == [["generator", 1], ["generator", 2]] and entry["releases"] == [result.release_digest]
    left = [path for path in result.out.rglob("*") if path.is_file() and b"patient-1" in path.read_bytes()]
    assert left == []


def withdrawals(out: Any) -> list[tuple[str, int | None, list[Any]]]:
    entries = json.loads((out / "withdrawn.json").read_text())
    return [(entry["site"], entry["patients"], entry["rounds"]) for entry in entries]


def test_a_patient_who_goes_after_the_site_s_last_round_is_heard_of_by_every_later_answer(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    work = consortium.root / "sites" / "a" / "work"
    rounds = [["generator", 1], ["generator", 2], ["generator", 3]]
    go = after_round(3, lambda: withdraw_patient(work, "patient-1"))
    judged = consortium.run(tiny.make_study(assessment="enabled = true"), where="judged", on_event=go)
    assert withdrawals(judged.out) == [("a", 1, rounds)]

    def stop(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 3:
            withdraw_patient(work, "patient-2")
            server("stop", consortium.root / "stopped" / "run")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.control.POLL_S", 0.0)
        stopped = consortium.run(tiny.make_study(), where="stopped", on_event=stop)
    assert withdrawals(stopped.out) == [("a", 1, rounds)]


def test_a_resumed_run_hears_with_the_roll_call_who_went_meanwhile(consortium: Any, tiny: SimpleNamespace) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, StageFinished):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(tiny.make_study(), on_event=strike)
    withdraw_patient(consortium.root / "sites" / "a" / "work", "patient-1")
    result = consortium.run(tiny.make_study(), resume=True)
    assert withdrawals(result.out) == [("a", 1, [["generator", 1], ["generator", 2], ["generator", 3]])]


def test_patients_who_go_once_the_run_is_over_are_noted_by_their_number(consortium: Any, tiny: SimpleNamespace) -> None:
    result = consortium.run(tiny.make_study())
    for number in (1, 1, 3):
        assert server("withdraw", result.out, "--site", "b", "--patients", number, "--json") == 0
    rounds = [["generator", 1], ["generator", 2], ["generator", 3]]
    assert withdrawals(result.out) == [("b", 1, rounds), ("b", 2, rounds)]
    entries = json.loads((result.out / "withdrawn.json").read_text())
    assert all(entry["releases"] == [result.release_digest] for entry in entries)


def test_a_key_that_no_patient_of_the_site_has_is_refused(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (consortium.root / "sites" / "a" / "scans" / "case-1").mkdir()
    assert call(client_app, CLIENT, ["withdraw", "patient-9", "--site", str(consortium.sites["a"])]) == 3
    assert not withdrawn_patients(consortium.root / "sites" / "a" / "work")


def test_nobody_changes_sides_because_somebody_went(tiny: SimpleNamespace, tmp_path: Any) -> None:
    path = tiny.write_site(tmp_path / "a", "a", 9, [Sequence.T1, Sequence.T2])
    study = tiny.make_study(["a"], data="holdout_fraction = 0.34")
    before = tiny.open_cached(path, study)
    gone = [sorted(before.training.patients())[0], sorted(before.held_out.patients())[0]]
    for patient in gone:
        withdraw_patient(path.parent / "work", patient)
    after = tiny.open_cached(path, study)
    assert set(after.training.patients()) == set(before.training.patients()) - set(gone)
    assert set(after.held_out.patients()) == set(before.held_out.patients()) - set(gone)
    assert folds_of(after.training, 1) == folds_of(before.training, 1)
    assert validation_patients(after.training, study) == validation_patients(before.training, study)
    assert after.inventory.training_patients == before.inventory.training_patients - 1


def test_a_list_of_withdrawn_patients_that_cannot_be_read_opens_no_site(tiny: SimpleNamespace, tmp_path: Any) -> None:
    path = tiny.write_site(tmp_path / "a", "a", 2, [Sequence.T1])
    (path.parent / "work" / "withdrawn.json").write_text('{"patients": "all"}')
    with pytest.raises(DataError, match=r"withdrawn\.json"):
        tiny.open_cached(path, tiny.make_study(["a"]))


def test_a_patient_counts_as_withdrawn_from_the_runs_it_was_in_alone(tiny: SimpleNamespace, consortium: Any) -> None:
    result = consortium.run(tiny.make_study())
    work = consortium.root / "sites" / "a" / "work"
    withdraw_patient(work, "patient-0")
    withdraw_patient(work, "patient-77")
    assert withdrawn_from(work, result.run) == 1 and withdrawn_from(work, "f" * 16) == 0
