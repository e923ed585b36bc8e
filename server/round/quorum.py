"""Whether a round counts: the sites that the study requires, and as many others as its quorum asks for."""

from __future__ import annotations

from collections.abc import Iterable

from common.records import NOT_APPROVED
from common.settings.federation import Federation
from server.result import FAILED, INCOMPLETE, SiteFault


class RunOverError(Exception):
    """A round does not count, so the run ends with what stands."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def lacking(federation: Federation, answered: set[str]) -> str | None:
    """Return what a round still lacks, None where it may count.

    A site that has nothing to learn a stage from, and says so, answered well; but somebody must contribute. One
    that has no privacy left to spend is not asked again, and is missing: what it knows is no longer learnt.
    """
    missing = sorted(set(federation.required) - answered)
    if missing:
        return f"lacks {', '.join(missing)}, which the study requires"
    if len(answered) < federation.quorum:
        return f"reached {len(answered)} sites of a quorum of {federation.quorum}"
    return None


def require(
    federation: Federation,
    where: str,
    contributed: set[str],
    answered: set[str],
    exhausted: set[str],
    faults: Iterable[SiteFault],
) -> None:
    """Raise RunOverError where a round does not count.

    Args:
        federation: what the study asks of a round.
        where: what a person calls it.
        contributed: sites whose updates are in it.
        answered: those, and the ones that had nothing to learn from and said so.
        exhausted: sites that have no privacy left to spend.
        faults: what the others answered.
    """
    if lack := lacking(federation, answered):
        spent = f"; no privacy is left to spend at {', '.join(sorted(exhausted))}" if exhausted else ""
        raise RunOverError(INCOMPLETE if answered else FAILED, f"{where} {lack}{spent}{unapproved(faults)}")
    if not contributed:
        raise RunOverError(FAILED, f"{where}: no site has anything to learn from; leave the stage out")


def unapproved(faults: Iterable[SiteFault]) -> str:
    """Return who of the missing has not approved the plan, and what to do, to be added to a reason."""
    sites = sorted({fault.site for fault in faults if fault.code == NOT_APPROVED})
    if not sites:
        return ""
    named = f"{', '.join(sites)} {'has' if len(sites) == 1 else 'have'} not approved the plan"
    return f"; {named}: approve the plan at the site, then `gliofed-server resume`"
