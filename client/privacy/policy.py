"""What a site's policy means for one study: how many patients must stand behind what leaves."""

from __future__ import annotations

from client.config import Policy
from common.study import Study


def patients_behind_training(policy: Policy, study: Study) -> int:
    """Return the fewest patients behind a sequence or a parameter group that may be trained on and sent."""
    return max(policy.minimum_patients, study.data.minimum_patients)


def patients_behind_number(policy: Policy, study: Study) -> int:
    """Return the fewest patients behind a metric, a count or a median that may be sent."""
    return max(policy.minimum_patients, study.reporting.minimum_count)
