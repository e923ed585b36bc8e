"""What a message may do at this site, by the bundle it came with and what a person here approved.

The line: a bundle that the consortium signed and that holds the very code installed here may *ask*. Its question is
read by the installed code, a plan that comes with it is kept for a person to read, and the answer is `not-approved` and
nothing else. To train, to assess, or to be answered anything, a message needs an approved plan that names this bundle
and this run configuration. A bundle of other code is answered `other-code` and read no further. No code of it is ever
run, approved or not: what runs is what was installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Protocol

from common.sources import Shipped

QUERY = "query"
"""The kind of message that asks; Flower appends an action after a dot."""


class Verdict(Enum):
    """What becomes of a message."""

    RUN = "answered"
    ASK = "not approved; a plan that comes with it is kept"
    NOT_APPROVED = "not approved"
    OTHER_CODE = "other code"


class Plan(Protocol):
    """What the guard needs of an approved study plan."""

    @property
    def bundle_sha256(self) -> str | None:
        """Digest of the bundle that the plan names."""

    def fits_run(self, run_config: Mapping[str, object]) -> bool:
        """Say whether a run of this configuration is the one that was planned."""


def judge(shipped: Shipped, kind: str, run_config: Mapping[str, object], plans: Iterable[Plan]) -> Verdict:
    """Say what becomes of a message of this kind (`query`, `train`, `evaluate.…`) of a run."""
    if not shipped.same_code:
        return Verdict.OTHER_CODE
    if any(plan.bundle_sha256 == shipped.sha256 and plan.fits_run(run_config) for plan in plans):
        return Verdict.RUN
    return Verdict.ASK if kind.partition(".")[0] == QUERY else Verdict.NOT_APPROVED
