"""A fault that strikes nobody is no fault, and what chaos must find is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import FederationError
from simulations.chaos.crowd import Crowd
from simulations.chaos.faults import FAULTS
from simulations.chaos.laws import broken_by_crowds, broken_by_fault, broken_by_time
from simulations.chaos.trial import STRUCK, FaultRow, Trial


@dataclass
class Victim:
    """A program, or a process of one."""

    name: str = "victim"
    alive: bool = True
    killed: int = 0

    def kill(self) -> None:
        self.killed += 1


@dataclass
class Deployment:
    """A deployment in which one program, at most, runs under every name; processes come late, at the third look."""

    victim: Victim | None = None
    looks: int = 0
    link: Any = field(default_factory=lambda: SimpleNamespace(carried_bytes=0, lost_segments=0, quality=None))

    def client_apps(self, site: str = "") -> list[Victim]:
        self.looks += 1
        return [self.victim] if self.victim is not None and self.looks > 2 else []

    server_apps = client_apps

    def __getattr__(self, name: str) -> Any:
        victim = self.victim or Victim(alive=False)
        supervisor = SimpleNamespace(kill=lambda program: program.kill())
        return {"supernodes": {STRUCK: victim}, "supervisor": supervisor, "links": {STRUCK: self.link}}.get(
            name, victim
        )


class Impatient(Trial):
    """A trial that looks three times, and waits for no clock."""

    def wait_until(self, what: str, holds: Any, patience_s: float = 0.0) -> None:
        if not any(holds() for _ in range(3)):
            raise FederationError(what)


class Counting(Impatient):
    """A trial of which a round counts with each look."""

    def counted(self) -> dict[str, str]:
        self.driver.rounds.append("a")
        return dict(enumerate(self.driver.rounds))  # type: ignore[arg-type]


def trial(deployment: Deployment, kind: type[Trial] = Impatient) -> Trial:
    return kind(deployment, SimpleNamespace(rounds=[]), SimpleNamespace())  # type: ignore[arg-type]


KILLING = [name for name in FAULTS if name.endswith("-killed")]


@pytest.mark.parametrize("name", KILLING)
def test_to_kill_nobody_is_no_fault(name: str) -> None:
    with pytest.raises(FederationError, match="to be killed"):
        FAULTS[name](trial(Deployment()))


@pytest.mark.parametrize("name", KILLING)
def test_who_comes_late_is_waited_for_and_killed(name: str) -> None:
    victim = Victim()
    assert "SIGKILL" in FAULTS[name](trial(Deployment(victim)))
    assert victim.killed == 1


@pytest.mark.parametrize(("carried", "lost"), [(0, 0), (1000, 0)])
def test_a_bad_link_that_nothing_felt_is_no_fault(carried: int, lost: int) -> None:
    deployment = Deployment()

    class Round(Counting):
        def wait_until(self, what: str, holds: Any, patience_s: float = 0.0) -> None:
            deployment.link.carried_bytes += carried
            deployment.link.lost_segments += lost

    with pytest.raises(FederationError, match="nothing felt it"):
        FAULTS["bad-link"](trial(deployment, Round))


@pytest.mark.parametrize(
    ("fault", "lost", "restarts", "broken"),
    [
        ("superlink-killed", 0, 1, False),
        ("superlink-killed", 0, 0, True),
        ("superlink-killed", 1, 1, True),
        ("coordinator-outage", 0, 0, True),
        ("client-app-killed", 0, 0, False),
        ("bad-link", 0, 0, False),
        ("all of these", 0, 0, False),
        ("all of these", 1, 0, True),
    ],
)
def test_a_lost_round_is_a_problem_and_so_is_a_killed_program_that_nobody_had_to_start_again(
    fault: str, lost: int, restarts: int, broken: bool
) -> None:
    assert (broken_by_fault(FaultRow(fault, "done", lost, "ended", 1.0, restarts)) is not None) == broken


def test_memory_must_be_flat_and_time_linear() -> None:
    def crowd(sites: int, peak_mb: float, seconds: float) -> Crowd:
        return Crowd(sites, 3, 5.0, peak_mb, seconds)

    least = crowd(10, 500.0, 10.0)
    assert broken_by_crowds([least, crowd(50, 900.0, 900.0), crowd(200, 549.0, 299.0)]) == []
    assert ["MB" in each for each in broken_by_crowds([least, crowd(200, 551.0, 299.0)])] == [True]
    assert [" s, " in each for each in broken_by_crowds([least, crowd(200, 549.0, 301.0)])] == [True]


def test_more_than_twenty_five_minutes_are_a_problem() -> None:
    assert broken_by_time(1499.0) is None
    assert "26.0 minutes" in str(broken_by_time(1560.0))
