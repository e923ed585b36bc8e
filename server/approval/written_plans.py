"""The signed plans of a consortium: `plans/<digest>.json`, and beside the study of the run that each is for.

A run that finds a plan in its folder sends it to every site with the roll call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from common.approval.study_plan import MAX_PLAN_BYTES, StudyPlan, parse_signed_plan, read_plan, write_plan
from common.errors import StudyError
from common.files import read_at_most, write_whole
from common.identity.signing import SignatureError, SigningKey, VerifyKey
from common.roster_file import Roster
from common.study import Study
from server.approval.make_plan import make_plan
from server.consortium.folder import Consortium

FILE, STUDY = "study-plan.json", "study.toml"
JOURNAL = "journal"


def write_study_plan(
    consortium: Consortium,
    run: str,
    study_text: str,
    roster: Roster,
    run_config: Mapping[str, str | bool],
    bundle_sha256: str | None,
    key: SigningKey,
) -> tuple[StudyPlan, Path]:
    """Write the study into the folder of its run, with its signed plan; return the plan and the file to hand out.

    Raises:
        StudyError: where the study is wrong, or a run of this name has begun.
        SignatureError: where the key is not the consortium's: no site would believe the plan.
        WrongPlanError: where the roster lacks a site of the study.
    """
    folder = consortium.run(run)
    if (folder / JOURNAL).exists():
        raise StudyError(f"{folder}: a run of this name has begun; give another name with --run")
    if key.public != VerifyKey.load(consortium.signing_pub):
        raise SignatureError("the signing key is not the consortium's, whose public half the sites hold; give that one")
    plan = make_plan(study_text, roster, run_config, bundle_sha256, datetime.now(UTC).date())
    blob, path = write_plan(plan, key), consortium.plans / f"{plan.digest}.json"
    write_whole(path, blob)
    write_whole(folder / STUDY, study_text.encode())
    write_whole(folder / FILE, blob)
    return plan, path


def plan_of_run(consortium: Consortium, run: str) -> StudyPlan:
    """Return the plan that was written for a run. Raises StudyError where there is none, SignatureError where wrong."""
    path = consortium.run(run) / FILE
    if not path.is_file():
        raise StudyError(f"{path.parent}: no plan was written for this run; write one with `gliofed-server plan`")
    return read_plan(read_at_most(path, MAX_PLAN_BYTES), VerifyKey.load(consortium.signing_pub), str(path))


def offered_plan(folder: Path, study: Study) -> str | None:
    """Return the signed plan in a run's folder as it is to be sent to the sites, None where there is none.

    Raises:
        StudyError: where the file is no plan, or of another study than the run's.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    blob = read_at_most(path, MAX_PLAN_BYTES)
    if parse_signed_plan(blob, str(path)).plan.study_digest != study.digest:
        raise StudyError(f"{path}: is the plan of another study or of other code; write a new one")
    return blob.decode()
