"""The verbs of consent: `plans`, `show`, `approve`, `revoke`. Nothing is trained that a person did not approve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common import console
from common.errors import StudyError

if TYPE_CHECKING:
    from client.config import SiteConfig
    from client.consent.approvals import Approval
    from client.consent.difference import Change
    from common.approval.study_plan import SignedPlan, StudyPlan

PROGRAM = "gliofed-client"
MOST_CHANGES = 60
"""Lines of a difference that are printed; `--json` has all."""

SiteOption = Annotated[Path, typer.Option("--site", help="The site's site.toml.")]
PlanArgument = Annotated[
    str, typer.Argument(show_default=False, help="A plan's file, or the first digits of its digest as `plans` lists.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `gliofed-client`."""
    app.command(epilog=console.epilog(f"{PROGRAM} plans --site site.toml"))(plans)
    app.command(epilog=console.epilog(f"{PROGRAM} show 4f1d2c03 --site site.toml"))(show)
    app.command(epilog=console.epilog(f"{PROGRAM} approve 4f1d2c03 --site site.toml"))(approve)
    app.command(epilog=console.epilog(f"{PROGRAM} revoke 4f1d2c03 --site site.toml"))(revoke)


def plans(site: SiteOption = Path("site.toml"), as_json: JsonOption = False) -> None:
    """List the study plans that reached this site, and which of them a person approved.

    A plan arrives with the coordinator's first message of its run, or as a file.
    """
    from client.config import load_site
    from client.consent.approvals import approvals
    from client.consent.decisions import pinned_key
    from client.consent.offers import offers

    config = load_site(site)
    held = {each.plan.digest: each for each in approvals(config.workdir)}
    found = {signed.plan.digest: signed for signed in offers(config.workdir, pinned_key(site))}
    known = {digest: each.signed for digest, each in held.items()} | found
    rows = [_row(signed, held.get(digest)) for digest, signed in known.items()]
    if as_json:
        console.print_json(rows)
        return
    columns = ["digest", "study", "created", "sites", "state"]
    cells = [[row["digest"][:12], row["study"], row["created"], ", ".join(row["sites"]), row["state"]] for row in rows]
    console.print_table(f"{config.name}: {console.count(len(rows), 'plan')}", columns, cells)


def show(plan: PlanArgument, site: SiteOption = Path("site.toml"), as_json: JsonOption = False) -> None:
    """Say what would leave under a plan, to whom and at what cost, and what changed since the last approved one."""
    config, signed = _open(plan, site)
    facts, changed, last = _facts(signed.plan, config)
    if as_json:
        entries = None if last is None else [vars(change) for change in changed]
        console.print_json(facts | {"changes": entries, "compared_with": None if last is None else last.plan.digest})
        return
    _print(facts, changed, last)


def approve(
    plan: PlanArgument,
    site: SiteOption = Path("site.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts that a person answers for.")] = False,
) -> None:
    """Approve a plan: its study may run here from now on, among the sites whose keys it names.

    Shows the plan first and asks for the study's name. Who approved, when and what is kept in workdir/approvals and in
    the audit log; secure sums trust the keys of the approved plan from then on.
    """
    from client.consent.decisions import approve as approve_plan
    from client.consent.decisions import check_fits, pinned_key

    config, signed = _open(plan, site)
    check_fits(config, signed.plan)
    if not yes:
        _print(*_facts(signed.plan, config))
        name = signed.plan.study.name
        if typer.prompt(f"Type the study's name, {name}, to approve this plan", err=True) != name:
            raise StudyError("that is not the study's name; nothing was approved")
    approval = approve_plan(config, signed, pinned_key(site))
    console.print_line(f"plan {signed.plan.digest[:12]} is approved at {config.name} by {approval.approved_by}")


def revoke(plan: PlanArgument, site: SiteOption = Path("site.toml")) -> None:
    """Take consent back: a round at work ends at its next step, and every further message is refused."""
    from client.config import load_site
    from client.consent.approvals import approvals
    from client.consent.decisions import revoke as revoke_plan
    from common.approval.study_plan import MAX_PLAN_BYTES, parse_signed_plan
    from common.files import read_at_most

    config, wanted = load_site(site), plan
    if Path(plan).is_file():  # whoever signed it: consent may always be taken back
        wanted = parse_signed_plan(read_at_most(Path(plan), MAX_PLAN_BYTES), plan).plan.digest
    found = [each.plan.digest for each in approvals(config.workdir) if each.plan.digest.startswith(wanted)]
    if len(found) != 1 or not wanted:
        raise StudyError(f"{plan}: {len(found)} approved plans begin so; `{PROGRAM} plans` lists them")
    revoke_plan(config, found[0])
    console.print_line(f"plan {found[0][:12]} is not approved at {config.name} any more; nothing is trained under it")


def _open(plan: str, site: Path) -> tuple[SiteConfig, SignedPlan]:
    from client.config import load_site
    from client.consent.decisions import pinned_key
    from client.consent.offers import find_plan

    config = load_site(site)
    return config, find_plan(plan, config.workdir, pinned_key(site))


def _facts(plan: StudyPlan, config: SiteConfig) -> tuple[dict[str, Any], tuple[Change, ...], Approval | None]:
    """Return a plan in words, what changed, and the approval that it is compared with."""
    from client.consent.approvals import approvals
    from client.consent.description import describe
    from client.consent.difference import changes

    others = [each for each in approvals(config.workdir) if each.plan.digest != plan.digest]
    alike = [each for each in others if each.plan.study.name == plan.study.name]
    last = (alike or others)[-1] if others else None
    return describe(plan, config), () if last is None else changes(last.plan, plan), last


def _row(signed: SignedPlan, approval: Approval | None) -> dict[str, Any]:
    state = "pending"
    if approval is not None:
        state = f"approved by {approval.approved_by}, {approval.approved_at:%Y-%m-%d %H:%M} UTC"
    plan = signed.plan
    sites = list(plan.study.sites)
    return {
        "digest": plan.digest,
        "study": plan.study.name,
        "created": plan.created.isoformat(),
        "sites": sites,
        "state": state,
        "approved": approval is not None,
    }


def _print(facts: dict[str, Any], changed: tuple[Change, ...], last: Approval | None) -> None:
    """Print a plan for a person."""
    private = facts["privacy"]
    rows = [
        ("digest", facts["digest"]),
        ("written", facts["created"]),
        ("code", facts["code_version"]),
        ("bundle", facts["bundle_sha256"] or "none"),
        ("secure aggregation", facts["secure_aggregation"]),
        ("privacy", _privacy_line(private)),
        ("sequences", ", ".join(f"{sequence} {use}" for sequence, use in facts["sequences"].items())),
        ("patients behind a tensor", f"at least {facts['minimum_patients']}"),
        ("patients behind a number", f"at least {facts['minimum_count']}"),
        ("run", ", ".join(f"{key} = {value}" for key, value in facts["run_config"].items()) or "-"),
    ]
    console.print_table(f"study {facts['study']}", ["fact", "value"], rows)
    columns = ["site", "key", "in this site's copy of the roster"]
    console.print_table("who takes part", columns, [list(entry.values()) for entry in facts["sites"]])
    columns = ["stage", "rounds", "tensors", "MB a round, before coding", "private"]
    yes = {True: "yes", False: "no"}
    tensors = [[*map(str, list(entry.values())[:-1]), yes[entry["private"]]] for entry in facts["tensors"]]
    console.print_table("what would leave this site, did it hold every sequence", columns, tensors)
    console.print_line(f"numbers: {', '.join(facts['numbers']) or 'none'}")
    if facts["numbers_that_stay"]:
        console.print_line(f"kept back by policy.metrics: {', '.join(facts['numbers_that_stay'])}")
    console.print_line(f"findings of the assessment: {facts['findings']}; counts of patients, medians of greys, codes")
    if last is None:
        console.print_line("nothing was approved here before, so there is nothing to compare with")
        return
    title = (
        f"{console.count(len(changed), 'change')} since plan {last.plan.digest[:12]}, approved by {last.approved_by}"
    )
    shown = [[change.what, change.before, change.now] for change in changed[:MOST_CHANGES]]
    console.print_table(title, ["what", "approved", "now"], shown)
    if len(changed) > MOST_CHANGES:
        console.print_line(f"and {len(changed) - MOST_CHANGES} more, see --json")


def _privacy_line(private: dict[str, Any]) -> str:
    if not private["stages"]:
        return "none: no noise covers a patient"
    left = (
        "no budget in site.toml" if private["site_left"] is None else f"{private['site_left']:.3g} left of the site's"
    )
    return (
        f"{', '.join(private['stages'])}: epsilon at most {private['epsilon']:g} at delta {private['delta']:g}; "
        f"spent here so far {private['site_spent']:.3g}, {left}"
    )
