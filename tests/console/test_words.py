"""What pages make of facts: units, words, commands in sentences, and a fleet that keeps nobody waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.console.fleet import FleetAside
from server.console.pages import HEALTH, ago, commands, duration, figure, size
from server.facts import Health, NodeSeen
from server.facts.run_facts import RunFacts
from server.facts.site_in_run import SiteInRun

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0 s"), (4.25, "4.2 s"), (83.0, "83 s"), (180.0, "3 min"), (7200.0, "2 h"), (172_800.0, "2 days")],
)
def test_a_time_is_said_in_the_unit_in_which_a_person_would_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_bytes_figures_and_moments_have_three_digits_and_a_unit() -> None:
    assert [size(number) for number in (0, 999, 1500, 234_000_000, 5e15)] == [
        *("0 B", "999 B", "1.5 kB", "234 MB", "5000 TB")
    ]
    assert [figure(value) for value in (None, 0.21345, 12.34)] == ["–", "0.213", "12.3"]
    assert ago(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert ago(NOW + timedelta(minutes=5), NOW) == "just now", "clocks that differ make no future"


def test_what_stands_between_backticks_is_a_command_and_nothing_is_markup() -> None:
    assert commands("run `serve <x>` & wait") == "run <code>serve &lt;x&gt;</code> &amp; wait"


def test_every_health_has_a_shape() -> None:
    assert set(HEALTH) == set(Health)


def test_the_fleet_is_asked_once_at_a_time_and_its_last_answer_comes_at_once() -> None:
    may, asked = threading.Semaphore(1), []

    def slow() -> Mapping[int, NodeSeen] | None:
        asked.append(1)
        assert may.acquire(timeout=10)
        return {len(asked): NodeSeen("online", NOW)}

    fleet = FleetAside(slow)
    assert set(fleet() or {}) == {1}, "the first page waits for the first answer"
    fleet._at -= 20
    began = time.monotonic()
    assert [set(fleet() or {}) for _ in range(3)] == [{1}] * 3 and len(asked) == 2
    assert time.monotonic() - began < 2
    may.release()
    assert fleet._asking is not None
    fleet._asking.join(10)
    assert set(fleet() or {}) == {2}


def test_an_answer_that_is_old_is_none() -> None:
    fleet = FleetAside(lambda: None)
    assert fleet() is None
    fleet._nodes = {1: NodeSeen("online", NOW)}
    assert fleet() is not None
    fleet._at -= 1000
    assert fleet() is None


@pytest.mark.parametrize("state", ["interrupted", "incomplete"])
def test_a_site_that_has_not_approved_is_named_with_what_to_do(
    state: str, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = "hospital-b has not approved the plan: approve the plan at the site, then `gliofed-server resume`"
    member = SiteInRun("hospital-b", "not-approved")
    facts = RunFacts("first", state, reason=what if state == "incomplete" else None, sites=(member,))
    monkeypatch.setattr(browser.desk, "run", lambda name: facts)
    browser.log_in("vera")
    assert browser.client.get("/runs/first").text.count(str(commands(what))) == 1
