"""How a run ended: complete, incomplete or failed, with every site that failed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import FederationError
from common.settings.stages import Stage

COMPLETE = "complete"
INCOMPLETE = "incomplete"
FAILED = "failed"


@dataclass(frozen=True)
class SiteFault:
    """A site that did not contribute where it was asked to; `stage` None and round 0 mean the inventory."""

    site: str
    code: str
    stage: Stage | None = None
    round: int = 0

    def __str__(self) -> str:
        """Return the fault as a reader wants it."""
        where = "inventory" if self.stage is None else f"{self.stage} round {self.round}"
        return f"{self.site}: {self.code} ({where})"


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: `complete`, `incomplete` (a round lacked sites that the study asks for), `failed` (nobody was there).
        run: its identifier.
        out: its folder.
        release: the release's folder, None unless complete.
        release_digest: the release's digest, None unless complete.
        reason: why it ended early, None where complete.
        faults: every site that failed somewhere, complete or not.
    """

    status: str
    run: str
    out: Path
    release: Path | None
    release_digest: str | None
    reason: str | None
    faults: tuple[SiteFault, ...]

    def require_complete(self) -> None:
        """Raise FederationError with names and reasons unless the run is complete."""
        if self.status != COMPLETE:
            names = "; ".join(str(fault) for fault in self.faults) or "no site is named"
            raise FederationError(
                f"run {self.run} is {self.status}: {self.reason}. Sites: {names}. "
                f"What counted stands in {self.out}; mend the sites and run again with --resume"
            )
