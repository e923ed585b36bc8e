"""A watch tells what changes, and ends as the run ends."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from client.app import make_app
from common import console
from common.errors import DataError
from server.cli import app
from server.consortium.folder import Consortium
from server.consortium.renewal import REMEDIES
from server.events import RoundFinished
from server.facts import run_facts
from server.facts.run_facts import AlarmFacts, RunFacts
from server.facts.site_in_run import SiteInRun
from server.operation.watch_view import picture
from server.operation.watching import duration, headline, lines, watch
from simulations.chaos.arithmetic import BENCH, open_cached


def test_a_watch_of_a_run_that_is_over_says_so_at_once_and_ends_with_its_exit_code(
    played: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.run(app, "gliofed-server", ["watch", str(played.run("first"))]) == 0
    said = capsys.readouterr().out
    assert said.startswith("first: complete, 4 of 4 rounds count\n  certificates: 397 days left\n")
    assert console.run(app, "gliofed-server", ["watch", str(played.run("first")), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "complete" and 396 < facts["certificate_days"] < 397.1


def test_a_run_that_ends_incomplete_ends_its_watch_with_six(
    tools: SimpleNamespace, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def opener(path: Any, study: Any) -> Any:
        if path.parent.name == "hospital-b":
            raise DataError("no case")
        return open_cached(path, study)

    consortium = tools.begin(tmp_path / "north")
    tools.play(consortium, "torn", client=make_app(opener, BENCH))
    assert console.run(app, "gliofed-server", ["watch", str(consortium.run("torn"))]) == 6
    said = capsys.readouterr().out
    assert "torn: incomplete" in said and "fault: hospital-b data (inventory)" in said
    (consortium.run("torn") / "journal" / "journal.sqlite").write_bytes(b"no database" * 100)
    assert console.run(app, "gliofed-server", ["watch", str(consortium.run("torn"))]) == 4


def test_a_watch_that_begins_before_the_run_sees_it_begin_go_on_and_end(tools: SimpleNamespace, tmp_path: Any) -> None:
    consortium, seen = tools.begin(tmp_path / "north"), []
    rounds = iter(range(1, 5))

    def follow() -> None:
        seen.extend(watch(consortium.run("live"), every_s=0.01))

    def wait_until_seen(event: Any) -> None:
        if isinstance(event, RoundFinished):
            done, until = next(rounds), time.monotonic() + 20
            while not any(facts.done == done for facts in seen):
                assert time.monotonic() < until, "the watch sees every round"
                time.sleep(0.01)

    consortium.run("live").mkdir(parents=True)
    thread = threading.Thread(target=follow)
    thread.start()
    tools.play(consortium, "live", on_event=wait_until_seen)
    thread.join(10)
    assert [seen[0].state, seen[-1].state] == ["not-begun", "complete"]
    assert "running" in {facts.state for facts in seen}
    told = [line for now, before in zip(seen, [None, *seen], strict=False) for line in lines(now, before)]
    assert told[0] == "live: not begun: no ServerApp has opened it yet"
    assert any("running, generator round 2 of 2, 1 of 4 rounds count" in line for line in told)


def example(**more: Any) -> RunFacts:
    sites = (SiteInRun("hospital-b", "late", faults=2), SiteInRun("hospital-a", "ok", rounds=3, seconds=1.5))
    alarm = AlarmFacts(stage="generator", round=3, site="hospital-b", kind="mode-collapse", value=0.05, limit=0.1)  # type: ignore[arg-type]
    return RunFacts("first", "running", study="three", sites=sites, alarms=(alarm,), seconds_left=600.0, **more)


def test_only_what_is_new_is_told() -> None:
    before, now = example(), example()
    assert lines(now, before) == []
    first = lines(now, None)
    assert first[0] == "first: running, every round counts; the sites judge the release, about 10 min left"
    assert first[1:] == [
        "  hospital-b: late",
        "  hospital-a: ok",
        "  alarm: mode-collapse of hospital-b, generator 3: 0.05",
    ]


def test_the_picture_shows_the_worst_site_first_and_the_alarms() -> None:
    told = shown(example())
    assert told.index("hospital-b") < told.index("hospital-a") and "mode-collapse" in told


def shown(facts: RunFacts) -> str:
    with Path(os.devnull).open("w") as nowhere:
        terminal = Console(width=140, record=True, file=nowhere)
        terminal.print(picture(facts))
        return terminal.export_text()


@pytest.mark.parametrize(
    ("days", "first", "said"),
    [
        (397.0, "server", "certificates: 397 days left"),
        (12.0, "server", "certificates: 12 days left of the server's; run `gliofed-server renew`"),
        (-1.0, "server", "the server's certificate has ended; run `gliofed-server renew`"),
        (12.0, "authority", f"certificates: 12 days left of the authority's; {REMEDIES['authority']}"),
    ],
)
def test_the_days_of_the_certificates_are_shown(days: float, first: str, said: str) -> None:
    facts = example(certificate_days=days, certificate=first)
    assert f"{said}\n" in f"{shown(facts)}\n".replace(" \n", "\n") and lines(facts, None)[1] == f"  {said}"
    assert "certificate" not in shown(example())


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (61, "61 s"), (600, "10 min"), (7200, "2.0 h")])
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_headline_says_why_a_run_ended(played: Consortium) -> None:
    assert headline(run_facts(played.run("first"))) == "complete, 4 of 4 rounds count"
    assert headline(RunFacts("x", "damaged", reason="the file is torn")) == "damaged: the file is torn"
