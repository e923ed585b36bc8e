"""The verb `doctor`: everything that can keep this site from its first round, with what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console
from common.errors import StudyError

if TYPE_CHECKING:
    from client.doctor.check import Topic
    from client.enrolment.folder import SiteFolder
    from common.approval.study_plan import StudyPlan
    from common.study import Study

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command(epilog=console.epilog(f"{PROGRAM} doctor --site site.toml --study study.toml"))(doctor)


def doctor(
    site: Annotated[Path, typer.Option("--site", help="The site's site.toml.")] = Path("site.toml"),
    study: Annotated[
        Path | None, typer.Option(show_default=False, help="study.toml that is to be trained here.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(show_default=False, help="Plan that is to be approved: a file, or its first digits.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(show_default=False, help="A topic, such as network; several times for several.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines at this site.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Write a redacted report here, to send to the coordinator."),
    ] = None,
) -> None:
    """Look at everything that can keep this site from its first round; change nothing.

    Passes, warns or fails each check, with what to do about it. Reads every scan once, and takes a training step of
    each stage on noise. Without --study or --plan the study is that of the newest plan known here.

    Exits with 0 where nothing failed; else 2 settings, 5 policy, keys and records, 6 the server, 3 data or memory,
    1 the machine: the first of these that failed.
    """
    from client.doctor.check import examine, exit_code
    from client.doctor.report import in_full, redacted
    from client.doctor.screen import summary, table
    from client.doctor.surroundings import Surroundings
    from client.enrolment.folder import SiteFolder
    from common.files import write_whole

    topics, place = _topics(only or []), SiteFolder(site)
    wanted, planned = _study(place, study, plan)
    with console.stages("looking around") as show:
        around = Surroundings(place, wanted, planned, on_progress=lambda done, total: show(None, done, total))
        results = examine(around, topics, lambda check: show(check.about, None, None))
    if report is not None:
        write_whole(report, redacted(results, around).encode())
    if as_json:
        console.print_json(in_full(results))
    else:
        console.print_rich(lambda out: table(results, out.max_width, out.ascii_only))
        console.print_line(summary(results))
    if status := exit_code(results):
        raise typer.Exit(status)


def _topics(only: list[str]) -> tuple[Topic, ...]:
    from client.doctor.registry import TOPICS

    if unknown := sorted(set(only) - {topic.name for topic in TOPICS}):
        names = ", ".join(topic.name for topic in TOPICS)
        raise StudyError(f"--only {unknown[0]}: no topic; choose among {names}")
    return tuple(topic for topic in TOPICS if not only or topic.name in only)


def _study(site: SiteFolder, study: Path | None, plan: str | None) -> tuple[Study | None, StudyPlan | None]:
    """Return the study, and the plan that it comes from; where none is named, that of the newest plan known here.

    Raises:
        StudyError, SignatureError: where what is named cannot be read, or is not signed.
    """
    from client.consent.offers import find_plan
    from common.identity.signing import VerifyKey
    from common.study import load_study

    if study is not None and plan is not None:
        raise StudyError("--study and --plan: give one of them; a plan holds its study")
    if plan is not None:
        found = find_plan(plan, site.config.workdir, VerifyKey.load(site.signing_pub)).plan
        return found.study, found
    if study is not None:
        return load_study(study), None
    known = _newest_plan(site)
    return (None if known is None else known.study), known


def _newest_plan(site: SiteFolder) -> StudyPlan | None:
    """Return the plan that was approved last, else the newest that waits; None where there is none to be read."""
    from client.consent.approvals import approved
    from client.consent.offers import offers
    from common.errors import GliofedError
    from common.identity.signing import VerifyKey

    try:
        pinned, workdir = VerifyKey.load(site.signing_pub), site.config.workdir
        plans = approved(workdir) or [signed.plan for signed in offers(workdir, pinned)]
        return plans[-1] if plans and plans[-1].study else None
    except GliofedError:  # a check tells what is wrong with the site
        return None
