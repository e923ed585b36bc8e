"""Watching a run from outside: what has changed since the last look, until the run ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from common.errors import FederationError, ReleaseError, RunFailedError
from server.facts import RunFacts, run_facts
from server.facts.site_facts import EXPIRES_SOON_DAYS

EVERY_S = 1.0
EXITS = {"complete": 0, "incomplete": FederationError.exit_code, "failed": RunFailedError.exit_code}
"""How a run ended → exit code; a journal that cannot be read is 4, as a damaged release is."""


def watch(out: Path, every_s: float = EVERY_S) -> Iterator[RunFacts]:
    """Yield where the run in `out` stands, now and after each change, until it has ended; the last is the end.

    Args:
        every_s: seconds between two looks.
    """
    before: RunFacts | None = None
    while True:
        now = run_facts(out)
        if before is None or told(now) != told(before):
            yield now
        if now.over:
            return
        before = now
        time.sleep(every_s)


def exit_code(last: RunFacts) -> int:
    """Return the exit code of a watch whose run has ended."""
    return EXITS.get(last.state, ReleaseError.exit_code)


def told(facts: RunFacts) -> tuple[object, ...]:
    """Return what of a run a reader wants to hear of when it changes."""
    states = tuple(sorted((site.site, site.state) for site in facts.sites))
    return facts.state, facts.stage, facts.round, facts.done, states, facts.alarms, facts.faults, facts.releases


def lines(now: RunFacts, before: RunFacts | None) -> list[str]:
    """Return what is new since `before`, a line each, for a log."""
    found = []
    if before is None or (now.state, now.stage, now.round) != (before.state, before.stage, before.round):
        found.append(f"{now.name}: {headline(now)}")
    if before is None and now.certificate_days is not None:
        found.append(f"  {certificates(now.certificate_days, now.certificate or 'server')}")
    told_before = () if before is None else before.unapproved
    found += [f"  {said}" for said in now.unapproved if said not in told_before]
    known = {site.site: site.state for site in before.sites} if before is not None else {}
    if before is None or (now.stage, now.round) == (before.stage, before.round):
        found += [f"  {site.site}: {site.state}" for site in now.sites if known.get(site.site) != site.state]
    for alarm in reversed(now.alarms[: len(now.alarms) - (0 if before is None else len(before.alarms))]):
        found.append(f"  alarm: {alarm.kind} of {alarm.site}, {alarm.stage} {alarm.round}: {alarm.value:.3g}")
    for fault in reversed(now.faults[: len(now.faults) - (0 if before is None else len(before.faults))]):
        where = "inventory" if fault.stage is None else f"{fault.stage} {fault.round}"
        found.append(f"  fault: {fault.site} {fault.code} ({where})")
    return found


def headline(facts: RunFacts) -> str:
    """Return state, round and time left in one line."""
    if facts.state == "not-begun":
        return "not begun: no ServerApp has opened it yet"
    parts = [facts.state if facts.reason is None else f"{facts.state}: {facts.reason}"]
    if facts.stage is not None:
        parts.append(f"{facts.stage} round {facts.round} of {facts.rounds}")
    elif not facts.over:
        parts.append("every round counts; the sites judge the release")
    if facts.of:
        parts.append(f"{facts.done} of {facts.of} rounds count")
    if facts.seconds_left is not None:
        parts.append(f"about {duration(facts.seconds_left)} left")
    return ", ".join(parts)


def certificates(days: float, first: str) -> str:
    """Return how long the connections of the sites stand, and what to do where that is not long.

    Args:
        first: the certificate that ends first, the `authority`'s or the `server`'s.
    """
    from server.consortium.renewal import Ending

    if days >= EXPIRES_SOON_DAYS:
        return f"certificates: {days:.0f} days left"
    left = (
        f"certificates: {days:.0f} days left of the {first}'s" if days > 0 else f"the {first}'s certificate has ended"
    )
    return f"{left}; {Ending(first, days).remedy}"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
