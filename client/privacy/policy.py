"""What a site's policy means for one study: whether it may run, and how many patients must stand behind what leaves."""

from __future__ import annotations

from client.config import Policy
from common.errors import PolicyError
from common.study import Study


class NotApprovedError(PolicyError):
    """Nobody at this site approved the study's plan, so nothing is trained."""

    code = "not-approved"


def check_approved(policy: Policy, study: Study) -> None:
    """Refuse a study that nobody at this site approved. Raises NotApprovedError."""
    if not policy.approve_everything:
        raise NotApprovedError(f"study {study.name!r} with digest {study.digest} is not approved at this site")


def patients_behind_training(policy: Policy, study: Study) -> int:
    """Return the fewest patients behind a sequence or a parameter group that may be trained on and sent."""
    return max(policy.minimum_patients, study.data.minimum_patients)


def patients_behind_number(policy: Policy, study: Study) -> int:
    """Return the fewest patients behind a metric, a count or a median that may be sent."""
    return max(policy.minimum_patients, study.reporting.minimum_count)
