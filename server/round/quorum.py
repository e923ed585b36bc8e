"""Whether a round counts: the sites that the study requires, and as many others as its quorum asks for."""

from __future__ import annotations

from common.settings.federation import Federation
from server.result import FAILED, INCOMPLETE


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


def require(federation: Federation, where: str, contributed: set[str], answered: set[str], exhausted: set[str]) -> None:
    """Raise RunOverError where a round does not count."""
    if lack := lacking(federation, answered):
        spent = f"; no privacy is left to spend at {', '.join(sorted(exhausted))}" if exhausted else ""
        raise RunOverError(INCOMPLETE if answered else FAILED, f"{where} {lack}{spent}")
    if not contributed:
        raise RunOverError(FAILED, f"{where}: no site has anything to learn from; leave the stage out")
