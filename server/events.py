"""What happens in a run, as it happens; a listener that raises stops it, and the run can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.plan import Plan
from common.settings.stages import Stage
from server.alarms import Alarm
from server.result import RunResult, SiteFault


@dataclass(frozen=True)
class RunPlanned:
    """The inventory is in and the plan is frozen; `faults` names the sites that did not make it."""

    run: str
    plan: Plan
    faults: tuple[SiteFault, ...]


@dataclass(frozen=True)
class StageStarted:
    """A stage begins, or goes on after `finished_rounds`."""

    stage: Stage
    rounds: int
    finished_rounds: int


@dataclass(frozen=True)
class RoundStarted:
    """Round `round` of `rounds` has been sent to `sites`."""

    stage: Stage
    round: int
    rounds: int
    sites: tuple[str, ...]


@dataclass(frozen=True)
class SiteProgress:
    """A site has trained `step` of `steps`. Only heard where the sites run in the coordinator's process."""

    stage: Stage
    round: int
    rounds: int
    site: str
    step: int
    steps: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class SiteAnswered:
    """A site's answer counted (`ok`), or why not."""

    stage: Stage
    round: int
    site: str
    code: str


@dataclass(frozen=True)
class AlarmRaised:
    """A figure of a site's game is beyond its limit; the round counts all the same."""

    stage: Stage
    round: int
    alarm: Alarm


@dataclass(frozen=True)
class RoundFinished:
    """A round counts and is on disk; `record` is its line of metrics.jsonl."""

    stage: Stage
    round: int
    rounds: int
    record: Mapping[str, Any]


@dataclass(frozen=True)
class StageFinished:
    """All rounds of a stage count; its weights stand in `weights`."""

    stage: Stage
    rounds: int
    weights: Path


@dataclass(frozen=True)
class AssessmentStarted:
    """The weights that are to become a release have been sent to `sites`, to be judged there."""

    sites: tuple[str, ...]


@dataclass(frozen=True)
class SiteAssessed:
    """What a site says of them counts (`ok`), or why not."""

    site: str
    code: str


@dataclass(frozen=True)
class RunFinished:
    """The run is over, in whatever way."""

    result: RunResult


Event = (
    RunPlanned
    | StageStarted
    | RoundStarted
    | SiteProgress
    | SiteAnswered
    | AlarmRaised
    | RoundFinished
    | StageFinished
    | AssessmentStarted
    | SiteAssessed
    | RunFinished
)
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
