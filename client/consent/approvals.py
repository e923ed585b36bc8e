"""The study plans that a person at this site approved: `<workdir>/approvals/<digest>.json`, a file each.

Nothing is trained without one. A file that cannot be read, or whose plan is not the one that its name says, approves
nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, StringConstraints, ValidationError

from client.config import Policy
from common.approval.study_plan import MAX_PLAN_BYTES, SignedPlan, StudyPlan
from common.errors import GliofedError, PolicyError
from common.files import PRIVATE, flush_folder, read_at_most, write_whole
from common.logs import logger
from common.records import NOT_APPROVED
from common.settings.frozen import Frozen

log = logger(__name__)

FOLDER = "approvals"


class NotApprovedError(PolicyError):
    """Nobody at this site approved the study's plan, so nothing is trained."""

    code = NOT_APPROVED


class Approval(Frozen):
    """A person's consent to a plan: who gave it, as the operating system calls them, and when."""

    schema_version: Literal[1] = 1
    signed: SignedPlan
    approved_by: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    approved_at: AwareDatetime

    @property
    def plan(self) -> StudyPlan:
        """What was approved."""
        return self.signed.plan


def approvals(workdir: Path) -> tuple[Approval, ...]:
    """Return all approvals that hold, the oldest first; damaged ones are logged and left out."""
    found = [_read(path) for path in sorted((workdir / FOLDER).glob("*.json"))]
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.approved_at))


def approved(workdir: Path) -> list[StudyPlan]:
    """Return the plans that are approved, the newest approval last."""
    return [approval.plan for approval in approvals(workdir)]


def approved_plan(workdir: Path, study_digest: str) -> StudyPlan:
    """Return the plan of a study that was approved last. Raises NotApprovedError where none is."""
    for plan in reversed(approved(workdir)):
        if plan.study_digest == study_digest:
            return plan
    raise NotApprovedError(
        f"no plan of study {study_digest[:12]} is approved at this site; read it with `gliofed-client plans` and "
        "`gliofed-client show`, then `gliofed-client approve`"
    )


def require_approval(workdir: Path, policy: Policy, study_digest: str) -> StudyPlan | None:
    """Return the approved plan of a study; None where a simulation's policy approves everything.

    Raises:
        NotApprovedError: where nobody approved it, or the approval was revoked.
    """
    try:
        return approved_plan(workdir, study_digest)
    except NotApprovedError:
        if policy.approve_everything:
            return None
        raise


def require_same_approval(workdir: Path, policy: Policy, study_digest: str, begun: StudyPlan | None) -> None:
    """Raise NotApprovedError where the plan `begun`, under which work began, is not the one that is approved now."""
    now = require_approval(workdir, policy, study_digest)
    if now is not begun and (now is None or begun is None or now.digest != begun.digest):
        raise NotApprovedError(
            f"another plan of study {study_digest[:12]} was approved while this site was at work; what was made under "
            "the one before stays here, and the next message is answered under the new one"
        )


def keep_approval(workdir: Path, signed: SignedPlan, by: str, at: datetime | None = None) -> Approval:
    """Write down that `by` approved a plan whose signature was verified; from here on it holds."""
    approval = Approval(signed=signed, approved_by=by, approved_at=at or datetime.now(UTC))
    write_whole(_file(workdir, signed.plan.digest), approval.model_dump_json().encode(), PRIVATE)
    return approval


def remove_approval(workdir: Path, digest: str) -> None:
    """End consent: from here on no message under the plan is answered. Raises NotApprovedError where there was none."""
    path = _file(workdir, digest)
    if not path.is_file():
        raise NotApprovedError(f"plan {digest[:12]} is not approved at this site, so there is nothing to revoke")
    path.unlink()
    flush_folder(path.parent)


def _file(workdir: Path, digest: str) -> Path:
    return workdir / FOLDER / f"{digest}.json"


def _read(path: Path) -> Approval | None:
    try:
        facts = path.stat()
    except OSError:  # revoked in this very moment
        return None
    return _parse(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _parse(path: Path, mtime_ns: int, size: int) -> Approval | None:
    """Parse a file once for as long as it stays the same: consent is asked for at every step of a round."""
    try:
        return parse_approval(read_at_most(path, 2 * MAX_PLAN_BYTES), path.stem)
    except GliofedError as error:
        log.warning("%s approves nothing: %s", path, error)
        return None


def parse_approval(blob: bytes, digest: str) -> Approval:
    """Parse an approval of the plan with this digest strictly. Raises NotApprovedError."""
    try:
        approval = Approval.model_validate_json(blob, strict=True)
    except ValidationError as error:
        raise NotApprovedError(f"the approval is damaged ({error.error_count()} problems); approve anew") from None
    if approval.plan.digest != digest:
        raise NotApprovedError("the approval is of another plan than its name says; approve anew")
    return approval
