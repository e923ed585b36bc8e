"""Where every run of a consortium stands: stage and round, who answered, alarms, how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from common.errors import GliofedError
from common.records import NOT_APPROVED
from common.settings.stages import Stage
from server.consortium.folder import Consortium, consortium_of
from server.facts.site_in_run import SiteInRun, sites_in_run
from server.journal import Journal, copies
from server.journal.journal import FILE, NotBegunError
from server.operation.steering import state_of

if TYPE_CHECKING:
    from server.consortium.renewal import Ending

NOT_BEGUN, DAMAGED = "not-begun", "damaged"
"""States of a folder whose journal is not there yet, or cannot be read."""


@dataclass(frozen=True)
class AlarmFacts:
    """A figure of one site beyond its limit, in a round that counts."""

    stage: Stage
    round: int
    site: str
    kind: str
    value: float
    limit: float


@dataclass(frozen=True)
class FaultFacts:
    """A site that did not contribute where it was asked to; `stage` None and round 0 mean the inventory."""

    site: str
    code: str
    stage: Stage | None
    round: int
    at: str


@dataclass(frozen=True)
class StageProgress:
    """Rounds of one stage that count, of those asked for, and the metrics of the last: means over sites."""

    stage: Stage
    done: int
    rounds: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunFacts:
    """Where one run stands.

    Attributes:
        name: its folder's.
        state: `running`, `paused`, `stopping`, `interrupted`, `complete`, `incomplete`, `failed`, `not-begun`,
            `damaged`.
        reason: why it ended early, or cannot be read.
        run: its identifier, 16 hex digits.
        code_version: of the coordinator that drives it, which is that of every site that answers.
        stage, round, rounds: the round that is being played; None where every round counts.
        accepted: sites whose update of that round stands.
        asked: sites that the round asks.
        quorum, required: what the study asks for.
        planned: sites that answered the roll call, which alone the run asks; empty before it.
        stages: every stage of the study, in order.
        sites: the worst first.
        alarms, faults: the latest first.
        seconds_a_round: median of the stage's rounds, else of all; None before the first.
        seconds_left: until the last round counts, at that pace; None where nobody can say, or it is over.
        bytes_down, bytes_up: to and from all sites.
        releases: digests.
        changed: when the journal was last written.
        certificate_days: until the first of the certificates ends on which the sites' connections stand; None where
            the run lies in no consortium's folder.
        certificate: which one that is, the `authority`'s or the `server`'s.
    """

    name: str
    state: str
    reason: str | None = None
    run: str | None = None
    study: str | None = None
    study_digest: str | None = None
    code_version: str | None = None
    stage: Stage | None = None
    round: int | None = None
    rounds: int | None = None
    accepted: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    quorum: int = 0
    required: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    stages: tuple[StageProgress, ...] = ()
    sites: tuple[SiteInRun, ...] = ()
    alarms: tuple[AlarmFacts, ...] = ()
    faults: tuple[FaultFacts, ...] = ()
    seconds_a_round: float | None = None
    seconds_left: float | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    releases: tuple[str, ...] = ()
    changed: datetime | None = None
    certificate_days: float | None = None
    certificate: str | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended, or cannot be read."""
        return self.state in ("complete", "incomplete", "failed", DAMAGED)

    @property
    def done(self) -> int:
        """Rounds that count, over all stages."""
        return sum(stage.done for stage in self.stages)

    @property
    def of(self) -> int:
        """Rounds that the study asks for, over all stages."""
        return sum(stage.rounds for stage in self.stages)

    @property
    def unapproved(self) -> tuple[str, ...]:
        """What to do about each site that has not approved the plan; empty of one that is over: its reason says it."""
        sites = [each.site for each in self.sites if each.state == NOT_APPROVED]
        return () if self.over else tuple(f"{site} has not approved the plan{self._way_in(site)}" for site in sites)

    def _way_in(self, site: str) -> str:
        if self.planned and site not in self.planned:
            return (
                ", so this run goes without it; to have it take part, `gliofed-server stop` this run, "
                "and begin another once the site has approved that one's plan"
            )
        if self.state == "interrupted":
            return ": approve the plan at the site, then `gliofed-server resume`"
        return ": approve the plan at the site, and the next round asks it again"


def runs(consortium: Consortium) -> tuple[RunFacts, ...]:
    """Return the consortium's runs: those that go on first, the latest first among equals."""
    folder = consortium.runs
    found = [run_facts(out) for out in sorted(folder.iterdir()) if out.is_dir()] if folder.is_dir() else []
    never = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(found, key=lambda facts: (facts.over, -(facts.changed or never).timestamp(), facts.name)))


def run_facts(out: Path) -> RunFacts:
    """Return where the run in `out` stands; a folder that cannot be read says so in its state and reason."""
    try:
        with Journal.look_into(out) as journal:
            return _facts(journal)
    except NotBegunError:
        return RunFacts(out.name, NOT_BEGUN)
    except GliofedError as error:
        return RunFacts(out.name, DAMAGED, reason=str(error))


def _facts(journal: Journal) -> RunFacts:
    study, ended, driven = journal.study, journal.ended(), journal.driven
    records = {stage: journal.records(stage) for stage in study.stages.present}
    flat = [record for of_stage in records.values() for record in of_stage]
    stage, number, accepted = journal.open_round() or (None, None, ())
    withdrawn, control = journal.requests.withdrawn_sites(), journal.requests.asked()
    sat_out = records[stage][-1]["sat_out"] if stage is not None and records[stage] else ()
    planned = tuple(entry.site for entry in journal.plan().inventory) if journal.planned else ()
    asked = [] if stage is None else sorted(set(planned) - withdrawn - set(sat_out))
    noted = journal.noted_faults()
    failed = {each.site: each.code for each, _ in noted if (each.stage, each.round) == (stage, number)}
    stages = tuple(_progress(name, rounds, study.stages.of(name)) for name, rounds in records.items())
    ending = _ending(journal.out)
    pace = _pace(records[stage] if stage is not None else [], flat)
    left = sum(each.rounds - each.done for each in stages)
    return RunFacts(
        name=journal.out.name,
        state=state_of(driven, control.paused, control.stopped, ended),
        reason=ended["reason"] if ended is not None and not driven else None,
        run=journal.run,
        study=study.name,
        study_digest=journal.study_digest,
        code_version=journal.code_version,
        stage=stage,
        round=number,
        rounds=next((each.rounds for each in stages if each.stage is stage), None),
        accepted=accepted,
        asked=tuple(asked),
        quorum=study.federation.quorum,
        required=study.federation.required,
        planned=planned,
        withdrawn=tuple(sorted(withdrawn)),
        stages=stages,
        sites=sites_in_run(
            study.sites,
            flat,
            accepted,
            failed,
            [each for each, _ in noted],
            asked if driven else (),
            lambda record: _written(journal.out, record),
        ),
        alarms=tuple(reversed(_alarms(flat))),
        faults=tuple(FaultFacts(each.site, each.code, each.stage, each.round, at) for each, at in reversed(noted)),
        seconds_a_round=pace,
        seconds_left=pace * left if pace is not None and driven else None,
        bytes_down=_sum(flat, "bytes_down"),
        bytes_up=_sum(flat, "bytes_up"),
        releases=tuple(journal.releases()),
        changed=_changed(journal.out),
        certificate_days=None if ending is None else ending.days,
        certificate=None if ending is None else ending.certificate,
    )


def _alarms(records: list[dict[str, Any]]) -> list[AlarmFacts]:
    return [
        AlarmFacts(Stage(record["stage"]), record["round"], **alarm)
        for record in records
        for alarm in record.get("alarms", ())
    ]


def _progress(stage: Stage, records: list[dict[str, Any]], settings: Any) -> StageProgress:
    return StageProgress(stage, len(records), settings.rounds, records[-1]["metrics"] if records else {})


def _pace(of_stage: list[dict[str, Any]], of_all: list[dict[str, Any]]) -> float | None:
    seconds = [record["seconds"] for record in of_stage or of_all]
    return median(seconds) if seconds else None


def _sum(records: list[dict[str, Any]], key: str) -> int:
    return sum(entry.get(key, 0) for record in records for entry in record["sites"].values())


def _written(out: Path, record: Mapping[str, Any]) -> datetime | None:
    """Return when a round was written down, by the copy of its record."""
    copy = copies.round_folder(out, Stage(record["stage"]), record["round"]) / copies.RECORD
    return datetime.fromtimestamp(copy.stat().st_mtime, UTC) if copy.is_file() else None


def _changed(out: Path) -> datetime | None:
    """Return when the journal was written: its log takes what the file itself has not taken in yet."""
    times = [path.stat().st_mtime for path in (out / FILE, out / f"{FILE}-wal") if path.is_file()]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _ending(out: Path) -> Ending | None:
    from server.consortium.renewal import first_to_end

    consortium = consortium_of(out)
    return None if consortium is None else first_to_end(consortium)
