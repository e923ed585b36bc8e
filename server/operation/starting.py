"""Handing a planned study to the SuperLink of its consortium, for the first time or to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import StudyError
from common.identity.signing import VerifyKey
from common.roster_file import Roster, load_roster
from common.study import Study, load_study
from server.approval.written_plans import plan_of_run
from server.consortium.folder import Consortium
from server.hosting.bundle import read_bundle
from server.hosting.submit import submit
from server.journal import Journal
from server.journal.journal import FILE

if TYPE_CHECKING:
    from common.approval.study_plan import StudyPlan

Submit = Callable[[Consortium, Mapping[str, str | bool]], int]


@dataclass(frozen=True)
class Started:
    """A run that was handed over: its folder, the digest of its plan, and Flower's number of it."""

    folder: Path
    plan: str
    flower_run: int


def start_run(consortium: Consortium, study: Path, run: str | None = None, hand_over: Submit = submit) -> Started:
    """Hand a study to the SuperLink, as its signed plan says.

    Args:
        study: the study.toml.
        run: the run's name; None is the study's.
        hand_over: to whom.
    Raises:
        StudyError: where no plan was written for the run, or it does not fit study, code, bundle or roster, or the run
            has begun; all that is wrong is named.
        SignatureError: where the plan or the bundle is not signed by the consortium's key.
        FederationError: where Flower does not take it.
    """
    asked = load_study(study)
    name = run or asked.name
    plan = plan_of_run(consortium, name)
    bundle, _ = read_bundle(consortium.bundle, VerifyKey.load(consortium.signing_pub))
    wrong = _misfits(plan, asked, load_roster(consortium.roster), bundle.sha256)
    if wrong:
        raise StudyError(
            f"{consortium.run(name)}: the plan does not fit: {'; '.join(wrong)}; write and hand out a new one with "
            f"`gliofed-server plan {study} {consortium.folder}`"
        )
    if (consortium.run(name) / FILE).exists():
        raise StudyError(f"{consortium.run(name)}: this run has begun; `gliofed-server resume` lets it go on")
    return Started(consortium.run(name), plan.digest, hand_over(consortium, plan.run_config))


def resume_hosted(consortium: Consortium, out: Path, hand_over: Submit = submit) -> str:
    """Hand a run to its consortium's SuperLink again, to go on after the last round that counts.

    Raises:
        StudyError: where `out` holds no run.
        FederationError: where Flower does not take it.
    """
    with Journal.look_into(out) as journal:
        settings, run = journal.settings, journal.run
    return f"run {run} goes on as Flower's run {hand_over(consortium, {**settings, 'resume': True})}"


def _misfits(plan: StudyPlan, study: Study, roster: Roster, bundle_sha256: str) -> list[str]:
    """Return what of a plan is not as it is now."""
    wrong = []
    if plan.study_digest != study.digest:
        wrong.append("the study or the code has changed since it was written")
    if plan.bundle_sha256 != bundle_sha256:
        wrong.append("it names another bundle than the one that was signed last")
    changed = [site for site in study.sites if plan.roster.sites.get(site) != roster.sites.get(site)]
    if changed:
        wrong.append(f"the roster has changed for {', '.join(sorted(changed))}")
    return wrong
