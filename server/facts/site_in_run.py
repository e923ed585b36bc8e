"""How each site fares in one run, the worst first: that is where a coordinator looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from common.records import OK, SITS_OUT
from server.result import WITHDRAWN, SiteFault

WAITING = "waiting"
"""State of a site whose answer in the open round is still awaited."""
NOT_ASKED = "not-asked"


@dataclass(frozen=True)
class SiteInRun:
    """One site of a run's study.

    Attributes:
        state: `ok`, `waiting`, `not-asked`, or the code with which it failed, sat out or left, in the open round or,
            where nothing is known of that yet, in the last one that counts.
        rounds: to which it contributed.
        faults: how often it failed, in rounds that never counted as well.
        alarms: of its figures, over all rounds.
        alarmed: whether the last round that counts raised one.
        last_fault: code of the last failure.
        seconds: from task to answer, in the last round that counts and that it answered.
        metrics: of that round.
        answered: when the last round that counts and that it contributed to was written down.
    """

    site: str
    state: str
    rounds: int = 0
    faults: int = 0
    alarms: int = 0
    alarmed: bool = False
    last_fault: str | None = None
    seconds: float | None = None
    bytes_down: int = 0
    bytes_up: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    answered: datetime | None = None

    @property
    def is_failing(self) -> bool:
        """Whether it was asked and did not do what it was asked for."""
        return self.state not in (OK, WAITING, NOT_ASKED, WITHDRAWN, *SITS_OUT)

    @property
    def misery(self) -> tuple[bool, bool, int, int, float, str]:
        """What the worst is told by: failing, alarmed, most faults, most alarms, slowest; then the name."""
        return (
            not self.is_failing,
            not self.alarmed,
            -self.faults,
            -self.alarms,
            -(self.seconds or 0.0),
            self.site,
        )


def sites_in_run(
    names: Iterable[str],
    records: list[dict[str, Any]],
    accepted: Iterable[str],
    open_faults: Mapping[str, str],
    noted: Iterable[SiteFault],
    asked: Iterable[str],
    written: Callable[[Mapping[str, Any]], datetime | None],
) -> tuple[SiteInRun, ...]:
    """Return how each site fares, the worst first.

    Args:
        names: the sites of the study.
        records: of all rounds that count, in order.
        accepted: sites whose update of the open round stands.
        open_faults: site → code, of those that failed in the open round.
        noted: every fault that was written down.
        asked: sites that the open round asks; empty where none is open.
        written: record → when it was written down.
    """
    faults = list(noted)
    every = (_one(site, records, [fault for fault in faults if fault.site == site], written) for site in names)
    now = dict.fromkeys(asked, WAITING) | dict(open_faults) | dict.fromkeys(accepted, OK)
    return tuple(sorted((_with_state(each, now.get(each.site)) for each in every), key=lambda each: each.misery))


def _one(
    site: str,
    records: list[dict[str, Any]],
    faults: list[SiteFault],
    written: Callable[[Mapping[str, Any]], datetime | None],
) -> SiteInRun:
    entries = [record["sites"][site] for record in records if site in record["sites"]]
    alarms = Counter(alarm["site"] for record in records for alarm in record.get("alarms", ()))
    last = [alarm["site"] for alarm in records[-1].get("alarms", ())] if records else []
    counted = [record for record in records if record["sites"].get(site, {}).get("code") == OK]
    good = [record["sites"][site] for record in counted]
    return SiteInRun(
        site=site,
        state=entries[-1]["code"] if entries else faults[-1].code if faults else NOT_ASKED,
        rounds=len(good),
        faults=len(faults),
        alarms=alarms[site],
        alarmed=site in last,
        last_fault=faults[-1].code if faults else None,
        seconds=good[-1].get("seconds") if good else None,
        bytes_down=sum(entry.get("bytes_down", 0) for entry in entries),
        bytes_up=sum(entry.get("bytes_up", 0) for entry in entries),
        metrics=good[-1].get("metrics", {}) if good else {},
        answered=written(counted[-1]) if counted else None,
    )


def _with_state(facts: SiteInRun, state: str | None) -> SiteInRun:
    return facts if state is None else replace(facts, state=state)
