"""The study plans that reached this site, approved or not: `<workdir>/plans/<digest>.json`, as they were signed."""

from __future__ import annotations

from pathlib import Path

from common.approval.study_plan import MAX_PLAN_BYTES, SignedPlan, read_signed_plan
from common.errors import GliofedError, StudyError
from common.files import read_at_most, write_whole
from common.identity.signing import VerifyKey
from common.logs import logger

log = logger(__name__)

FOLDER = "plans"
MOST = 64
"""Plans that a site keeps; a coordinator cannot fill its disk with more."""
SHORTEST_PREFIX = 6


def keep_offer(workdir: Path, blob: bytes, pinned: VerifyKey) -> SignedPlan:
    """Keep a plan for a person to read, once the consortium's signature is verified.

    Raises:
        StudyError, SignatureError, WrongPlanError: where it is no plan, or not signed, or contradicts itself.
        GliofedError: where the site keeps as many as it may.
    """
    signed = read_signed_plan(blob, pinned)
    path = _file(workdir, signed.plan.digest)
    if not path.exists():
        if len(list(path.parent.glob("*.json"))) >= MOST:
            raise StudyError(f"{path.parent}: {MOST} plans are kept already; remove those that nobody needs")
        write_whole(path, signed.to_bytes())
    return signed


def offers(workdir: Path, pinned: VerifyKey) -> tuple[SignedPlan, ...]:
    """Return the plans that were kept, the oldest first; one that is not signed by the pinned key is left out."""
    found = []
    for path in sorted((workdir / FOLDER).glob("*.json")):
        try:
            found.append(read_signed_plan(read_at_most(path, MAX_PLAN_BYTES), pinned, str(path)))
        except GliofedError as error:
            log.warning("%s is left out: %s", path, error)
    return tuple(sorted(found, key=lambda signed: (signed.plan.created, signed.plan.digest)))


def find_plan(named: str, workdir: Path, pinned: VerifyKey) -> SignedPlan:
    """Return the plan that a person means: a file, or the first digits of the digest of one that is kept.

    Raises:
        StudyError: where there is none, or several begin so.
        SignatureError: where the file is not signed by the pinned key.
    """
    if Path(named).is_file():
        return read_signed_plan(read_at_most(Path(named), MAX_PLAN_BYTES), pinned, named)
    found = [signed for signed in offers(workdir, pinned) if signed.plan.digest.startswith(named)]
    if len(named) >= SHORTEST_PREFIX and len(found) == 1:
        return found[0]
    wrong = "more than one plan begins so" if len(found) > 1 else "is no file and no plan that is kept here"
    raise StudyError(
        f"{named}: {wrong}; give a plan's file, or at least {SHORTEST_PREFIX} digits of a digest that "
        "`gliofed-client plans` lists"
    )


def _file(workdir: Path, digest: str) -> Path:
    return workdir / FOLDER / f"{digest}.json"
