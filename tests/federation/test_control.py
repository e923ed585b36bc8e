"""Pause, resume and stop from another process, and what the sites hear of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.cli import PROGRAM as CLIENT
from client.cli import app as client_app
from client.stopping import stop_run
from common.console import run as call
from server.cli import PROGRAM, app
from server.events import RoundFinished, RoundStarted, SiteAnswered, SiteProgress, StageFinished
from server.journal import Journal
from server.journal.requests import Request
from server.operation.launch import run_config, submit

WHERE = Path("run")


@pytest.fixture(autouse=True)
def looking_at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.control.POLL_S", 0.0)
    monkeypatch.setattr("server.exchange.FIRST_PAUSE_S", 0.001)


def server(*words: str) -> int:
    return call(app, PROGRAM, list(words))


def test_stop_ends_the_run_between_two_answers_and_reaches_every_site(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    out, heard = consortium.root / WHERE, []

    def listen(event: Any) -> None:
        heard.append(event)
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (2, "a"):
            assert server("stop", str(out)) == 0

    result = consortium.run(tiny.make_study(), on_event=listen)
    assert (result.status, result.reason) == ("incomplete", "the coordinator stopped it")
    assert [event.round for event in heard if isinstance(event, RoundFinished)] == [1]
    assert not any(isinstance(event, SiteProgress) and (event.round, event.site) == (2, "b") for event in heard)
    for site in ("a", "b"):
        folder = consortium.root / "sites" / site / "work" / "state" / result.run
        assert [path.name for path in folder.iterdir()] == ["stopped"]
    capsys.readouterr()
    assert server("resume", str(out)) == 6 and "for good" in capsys.readouterr().err


def test_a_stop_that_nobody_was_there_to_act_on_reaches_the_sites_by_a_resume(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished):
            raise PowerCutError

    out, study = str(consortium.root / WHERE), tiny.make_study()
    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike)
    assert server("stop", out) == 0 and "gliofed-server resume" in capsys.readouterr().out
    assert server("resume", out) == 6 and "nobody drives the run" in capsys.readouterr().err
    monkeypatch.setattr(
        "server.operation.launch.submit", lambda settings, *_: consortium.run(study, resume=settings["resume"]).status
    )
    assert server("resume", out, "--superlink", "consortium") == 0 and capsys.readouterr().out == "incomplete\n"
    for site in ("a", "b"):
        assert len(list((consortium.root / "sites" / site / "work").glob("state/*/stopped"))) == 1
    assert server("resume", out, "--superlink", "consortium") == 6 and "for good" in capsys.readouterr().err


def test_a_stop_after_the_last_round_leaves_no_release(consortium: Any, tiny: SimpleNamespace) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, StageFinished):
            server("stop", str(consortium.root / WHERE))

    result = consortium.run(tiny.make_study(), on_event=listen)
    assert result.status == "incomplete" and not (result.out / "release").exists()


def test_a_stopped_run_stays_stopped_when_it_is_resumed(consortium: Any, tiny: SimpleNamespace) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, RoundFinished):
            server("stop", str(consortium.root / WHERE))

    consortium.run(tiny.make_study(), on_event=listen)
    again = consortium.run(tiny.make_study(), resume=True)
    assert again.status == "incomplete" and "stopped" in str(again.reason)


def test_a_site_takes_no_task_of_a_run_that_its_people_stopped(consortium: Any, tiny: SimpleNamespace) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1:
            words = ["stop", event.record["run"], "--site", str(consortium.sites["b"])]
            assert call(client_app, CLIENT, words) == 0

    result = consortium.run(tiny.make_study(), on_event=listen)
    assert result.status == "complete"
    assert [str(fault) for fault in result.faults] == [
        "b: stopped (generator round 2)",
        "b: stopped (generator round 3)",
    ]


def test_a_site_that_is_stopped_while_it_trains_ends_at_its_next_step(consortium: Any, tiny: SimpleNamespace) -> None:
    steps: list[int] = []
    run: list[str] = []

    def listen(event: Any) -> None:
        if isinstance(event, RoundFinished):
            run.append(event.record["run"])
        if isinstance(event, SiteProgress) and event.site == "b" and event.round == 2:
            steps.append(event.step)
            stop_run(consortium.root / "sites" / "b" / "work", run[0])

    result = consortium.run(tiny.make_study(), on_event=listen)
    assert steps == [1] and result.faults[0].code == "stopped"


def test_pause_stands_still_until_somebody_resumes_and_the_deadline_waits_with_it(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, clock, order = consortium.root / WHERE, {"now": 0.0}, []
    undisturbed = tiny.fingerprint(consortium.run(tiny.make_study(), where="undisturbed"))

    def sleep(seconds: float) -> None:
        if order and order[-1] == "paused":
            clock["now"] += 10_000.0  # far beyond the deadline
            assert server("status", str(out), "--json") == 0
            assert json.loads(capsys.readouterr().out)["state"] == "paused"
            assert server("resume", str(out)) == 0
            order.append("resumed")

    def listen(event: Any) -> None:
        if isinstance(event, SiteAnswered):
            order.append(f"{event.site} {event.round} {event.code}")
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (2, "a"):
            assert server("pause", str(out)) == 0
            capsys.readouterr()
            order.append("paused")

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    result = consortium.run(tiny.make_study(), on_event=listen)
    assert result.status == "complete" and result.faults == ()
    assert order[2:6] == ["a 2 ok", "paused", "resumed", "b 2 ok"]
    assert tiny.fingerprint(result) == undisturbed


def test_status_says_where_an_interrupted_run_stands(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (2, "a"):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(tiny.make_study(), on_event=strike)
    out = str(consortium.root / WHERE)
    assert server("status", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["driven"]) == ("interrupted", False)
    assert (facts["stage"], facts["round"], facts["rounds"], facts["accepted"]) == ("generator", 2, 3, ["a"])
    assert server("status", out) == 0
    assert "generator 2 of 3" in capsys.readouterr().out
    assert server("resume", out) == 6
    assert "nobody drives the run" in capsys.readouterr().err
    assert server("pause", out) == 0
    assert "nobody does now" in capsys.readouterr().out


def test_a_run_that_nobody_drives_is_submitted_again_as_its_journal_holds_it(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, RoundStarted):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        consortium.run(tiny.make_study(), on_event=strike)
    submitted: list[Any] = []

    def told(*given: Any) -> str:
        submitted.append(given)
        return "taken"

    monkeypatch.setattr("server.operation.launch.submit", told)
    out = consortium.root / WHERE
    assert server("resume", str(out), "--superlink", "consortium", "--app", "/opt/gliofed") == 0
    assert capsys.readouterr().out == "taken\n"
    ((settings, superlink, source),) = submitted
    assert settings == {
        "study": str(out / "study.toml"),
        "out": str(out),
        "roster": str(out / "roster.toml"),
        "resume": True,
    }
    assert (superlink, source) == ("consortium", Path("/opt/gliofed"))


def test_a_run_configuration_is_written_as_flower_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    settings: dict[str, bool | str] = {"out": '/runs/"one" two', "resume": True}
    assert run_config(settings) == 'out="/runs/\\"one\\" two" resume=true'
    assert tomllib.loads(run_config({"out": '/runs/"one"'})) == {"out": '/runs/"one"'}
    flower = tmp_path / "flwr"
    flower.write_text('#!/bin/sh\necho "$@"\n')
    flower.chmod(0o755)
    monkeypatch.setattr("server.operation.launch.sys.executable", str(tmp_path / "python"))
    said = submit(settings, "consortium", Path("/opt/gliofed"))
    assert said.startswith("run /opt/gliofed consortium --run-config out=")
    flower.write_text('#!/bin/sh\necho "no such connection" >&2\nexit 1\n')
    with pytest.raises(Exception, match="no such connection"):
        submit(settings, "nowhere", Path())


def test_a_complete_run_has_nothing_to_pause(
    consortium: Any, tiny: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    consortium.run(tiny.make_study())
    for verb in ("pause", "stop", "resume"):
        assert server(verb, str(consortium.root / WHERE)) == 6
    with Journal.look_into(consortium.root / WHERE) as journal:
        assert journal.requests.asked().acted and not journal.requests.asked().stopped
        journal.requests.add(Request.PAUSE)
        assert journal.requests.asked().paused
