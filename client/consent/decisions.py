"""What a person at a site decides: to approve a plan, to revoke one, to stop a run. Each is in the audit log."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from client.config import SiteConfig
from client.consent.approvals import Approval, approvals, keep_approval, remove_approval
from client.consent.offers import keep_offer
from client.privacy.audit import AuditLog
from client.stopping import stop_run
from common.approval.study_plan import SignedPlan, StudyPlan
from common.errors import PolicyError
from common.identity.signing import VerifyKey
from common.study import code_version


class OtherPlanError(PolicyError):
    """A plan cannot be approved at this site, whoever signed it."""

    code = "other-plan"


def approve(config: SiteConfig, signed: SignedPlan, pinned: VerifyKey) -> Approval:
    """Approve a plan: from here on its study may run at this site, among the sites of its roster.

    Older plans of the study are revoked, so that none of them comes back to life when this one is.

    Raises:
        OtherPlanError: where the plan is for other code, or without this site or with another key of it.
        AuditError: where it cannot be written down; nothing is approved then.
    """
    check_fits(config, signed.plan)
    keep_offer(config.workdir, signed.to_bytes(), pinned)
    AuditLog(config.workdir).append(
        "approved", study=signed.plan.study_digest, plan=signed.plan.digest, by=person(), note=signed.plan.study.name
    )
    approval = keep_approval(config.workdir, signed, person())
    for older in approvals(config.workdir):
        if older.plan.study_digest == signed.plan.study_digest and older.plan.digest != signed.plan.digest:
            revoke(config, older.plan.digest, note=f"superseded by {signed.plan.digest}")
    return approval


def revoke(config: SiteConfig, digest: str, note: str | None = None) -> None:
    """End consent to a plan at once; a round at work ends at its next step. Raises NotApprovedError."""
    remove_approval(config.workdir, digest)
    AuditLog(config.workdir).append("revoked", plan=digest, by=person(), note=note)


def stop(config: SiteConfig, run: str) -> None:
    """End a run at this site."""
    stop_run(config.workdir, run)
    AuditLog(config.workdir).append("stopped", run=run, by=person())


def check_fits(config: SiteConfig, plan: StudyPlan) -> None:
    """Raise OtherPlanError, listing all that keeps a plan from being approved at this site."""
    wrong = []
    if plan.code_version != code_version():
        wrong.append(f"it is for version {plan.code_version}, installed is {code_version()}; install the plan's")
    elif plan.study.digest != plan.study_digest:
        wrong.append("its study is not the one of its digest")
    if config.name not in plan.study.sites:
        wrong.append(f"{config.name} is not among its sites")
    elif problem := _key_problem(config, plan):
        wrong.append(problem)
    if wrong:
        raise OtherPlanError(f"plan {plan.digest[:12]} cannot be approved: {'; '.join(wrong)}")


def _key_problem(config: SiteConfig, plan: StudyPlan) -> str | None:
    """Return what is wrong with this site's own key in the plan's roster."""
    if config.signing_key is None or not config.signing_key.is_file():
        return "site.toml names no signing_key, which secure sums need" if plan.secure_aggregation.enabled else None
    from common.identity.signing import SigningKey

    named = plan.roster.sites[config.name].signing_key
    if named is None:
        return "its roster has no key of this site" if plan.secure_aggregation.enabled else None
    if VerifyKey.from_pem(named) != SigningKey.load(config.signing_key).public:
        return "its roster has another key for this site; ask the coordinator to admit the new one"
    return None


def person() -> str:
    """Return who is deciding, as the operating system calls them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for the user
        return f"uid {os.getuid()}"


def pinned_key(site_toml: Path) -> VerifyKey:
    """Return the key that this site trusts for plans. Raises StudyError where the site has not joined."""
    from client.enrolment.folder import SiteFolder

    return VerifyKey.load(SiteFolder(site_toml).signing_pub)
