"""What a task gives a site to train from, by digest: sites that were given different things refuse to be summed."""

from __future__ import annotations

from collections.abc import Mapping

from common.parameters import DOMAIN_PREFIX
from common.records import EARLIER, Task
from common.secure.attempt import Attempt

PLAN = "plan"
"""Name of the plan's digest; no group is called so."""


def attempt_of(task: Task, number: int) -> Attempt:
    """Return attempt `number` at the sum of a task's round."""
    return Attempt(
        run=task.run,
        stage=task.stage,
        round=task.round,
        attempt=number,
        study_digest=task.study_digest,
        global_sha256=task.global_sha256,
    )


def given_by(task: Task, groups: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of all that a site trains from besides the study and its own cases, names sorted.

    They are the plan, the models of earlier stages, and `groups` of the global model.
    """
    earlier = {EARLIER + stage.value: digest for stage, digest in task.earlier.items()}
    return dict(sorted(({PLAN: task.plan.digest} | earlier | dict(groups)).items()))


def in_common(given: Mapping[str, str], site: str, other: Mapping[str, str]) -> dict[str, str]:
    """Return what of that which `site` was given a site that was given `other` must have been given too.

    It is everything but the lesion twins of `site`, which it alone is sent.
    """
    return {name: digest for name, digest in given.items() if name in other or not _own_twin(name, site)}


def _own_twin(name: str, site: str) -> bool:
    return name.startswith(f"{DOMAIN_PREFIX}{site}:") and name.endswith(":lesion")
