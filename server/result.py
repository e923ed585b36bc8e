"""How a run ended: complete, incomplete or failed, with every site that failed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import FederationError, RunFailedError
from common.settings.stages import Stage

if TYPE_CHECKING:
    from server.contract import Contract

COMPLETE = "complete"
INCOMPLETE = "incomplete"
FAILED = "failed"

STOPPED = "the coordinator stopped it"
"""Why a run ended that somebody stopped: its sites have been told."""

WITHDRAWN = "withdrawn"
"""Code of a site that somebody withdrew from the run."""


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
        status: `complete`, `incomplete` (a round lacked sites that the study asks for, or somebody stopped the run),
            `failed` (nobody was there, or had anything to learn from).
        run: its identifier.
        out: its folder.
        release: the release's folder, None unless complete.
        release_digest: the release's digest, None unless complete.
        reason: why it ended early, None where complete.
        faults: every site that failed somewhere, complete or not.
        contract: who is registered, who was configured, and who contributed to which stage.
    """

    status: str
    run: str
    out: Path
    release: Path | None
    release_digest: str | None
    reason: str | None
    faults: tuple[SiteFault, ...]
    contract: Contract | None = None

    def require_complete(self) -> None:
        """Raise FederationError with names and reasons unless the run is complete; RunFailedError where it failed."""
        if self.status != COMPLETE:
            names = "; ".join(str(fault) for fault in self.faults) or "no site is named"
            kind = RunFailedError if self.status == FAILED else FederationError
            raise kind(
                f"run {self.run} is {self.status}: {self.reason}. Sites: {names}. "
                f"What counted stands in {self.out}; mend the sites and run again with --resume"
            )
