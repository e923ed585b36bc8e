"""What the consortium has planned: every plan in `plans/` that its key has signed."""

from __future__ import annotations

from collections.abc import Iterator

from common.approval.study_plan import MAX_PLAN_BYTES, StudyPlan, read_plan
from common.errors import GliofedError
from common.files import read_at_most
from common.identity.signing import VerifyKey
from common.logs import logger
from server.consortium.folder import Consortium

log = logger(__name__)


def signed_plans(consortium: Consortium) -> Iterator[StudyPlan]:
    """Yield the plans, by name; a file that is none is logged, and counts for nothing."""
    pinned = VerifyKey.load(consortium.signing_pub)
    for path in sorted(consortium.plans.glob("*.json")):
        try:
            yield read_plan(read_at_most(path, MAX_PLAN_BYTES), pinned, path.name)
        except GliofedError as error:
            log.warning("%s is passed over: %s", path.name, error)
