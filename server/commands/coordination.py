"""The verbs of a coordinator's day: which sites, begin a run and watch it, which releases; promote one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console
from common.errors import StudyError

if TYPE_CHECKING:
    from server.consortium.folder import Consortium
    from server.facts import ReleaseFacts, RunFacts, SiteFacts

PROGRAM = "gliofed-server"

ConsortiumArgument = Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")]
RunArgument = Annotated[Path, typer.Argument(show_default=False, help="The run's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=console.epilog(f"{PROGRAM} sites ./consortium"))(sites)
    app.command(epilog=console.epilog(f"{PROGRAM} run study.toml ./consortium"))(run)
    app.command(epilog=console.epilog(f"{PROGRAM} watch ./consortium/runs/first"))(watch)
    app.command(epilog=console.epilog(f"{PROGRAM} releases ./consortium"))(releases)
    app.command(epilog=console.epilog(f"{PROGRAM} promote ./consortium/runs/first"))(promote)


def sites(consortium: ConsortiumArgument, as_json: JsonOption = False) -> None:
    """List the sites: health, last seen, certificate days, code, rounds contributed. Changes nothing."""
    from server.consortium.folder import Consortium
    from server.facts import plain, superlink_fleet
    from server.facts import sites as facts_of

    opened = Consortium.open(consortium)
    found = facts_of(opened, superlink_fleet(opened))
    if as_json:
        console.print_json([plain(site) for site in found])
        return
    columns = ["site", "health", "last seen", "certificate days", "code", "rounds", "faults", "key"]
    console.print_table(
        f"{console.count(len(found), 'site')} of {opened.settings.name}", columns, map(_site_row, found)
    )
    for site in found:
        if site.why:
            console.print_line(f"{site.name}: {site.why}")


def run(
    study: Annotated[Path, typer.Argument(show_default=False, help="The study.toml.")],
    consortium: ConsortiumArgument,
    run: Annotated[
        str | None, typer.Option("--run", show_default=False, help="The run's name; default: the study's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand a study to the SuperLink as its signed plan says; refused where study, code, bundle or roster changed.

    The sites answer once a person there has approved the plan. Prints the run's folder.
    """
    from server.consortium.folder import Consortium
    from server.operation.starting import start_run

    started = start_run(Consortium.open(consortium), study, run)
    if as_json:
        console.print_json({"run": started.folder.name, "folder": str(started.folder), "plan": started.plan,
                            "flower_run": started.flower_run})  # fmt: skip
        return
    console.print_line(str(started.folder))
    console.print_line(f"plan {started.plan[:12]}, Flower's run {started.flower_run}; {PROGRAM} watch {started.folder}")


def watch(
    run: RunArgument,
    every: Annotated[float, typer.Option(min=0.1, max=3600.0, help="Seconds between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON at each change.")] = False,
) -> None:
    """Watch a run until it ends: round, sites with the worst first, alarms, time left. Changes nothing.

    A terminal shows one picture, a pipe gets a line for each change. Ends with the run's own exit code: 0 complete,
    6 incomplete, 7 failed, 4 where its journal is damaged.
    """
    from server.operation.watching import exit_code
    from server.operation.watching import watch as watch_run

    changes = watch_run(run, every)
    if sys.stdout.isatty() and not as_json:
        from server.operation.watch_view import follow

        last = follow(changes)
    else:
        last = _write_down(changes, as_json)
    if code := exit_code(last):
        raise typer.Exit(code)


def releases(consortium: ConsortiumArgument, as_json: JsonOption = False) -> None:
    """List the releases that were promoted, the latest first. Changes nothing."""
    from server.consortium.folder import Consortium
    from server.facts import plain
    from server.facts import releases as facts_of

    opened = Consortium.open(consortium)
    found = facts_of(opened)
    if as_json:
        console.print_json([plain(release) for release in found])
        return
    columns = ["release", "study", "promoted", "signed", "stages", "training patients", "dossier"]
    rows = [_release_row(release, opened) for release in found]
    console.print_table(f"{console.count(len(found), 'release')} of {opened.settings.name}", columns, rows)
    for release in found:
        if release.problem:
            console.print_line(f"{release.digest[:12]}: {release.problem}")


def promote(
    run: RunArgument,
    consortium: Annotated[
        Path | None, typer.Option(show_default=False, help="The consortium's folder; default: the one the run lies in.")
    ] = None,
    signing_key: Annotated[
        Path | None, typer.Option(show_default=False, help="The consortium's signing key, where it was moved off.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a run's release and put it, with its dossier, among the consortium's releases: whole, or not at all.

    Every byte of the release is verified first. A release that is there already is left as it is.
    """
    from server.consortium.folder import Consortium, consortium_of
    from server.promotion import promote as promote_run

    opened = consortium_of(run) if consortium is None else Consortium.open(consortium)
    if opened is None:
        raise StudyError(f"{run}: lies in no consortium's folder; name the one that signs with --consortium FOLDER")
    done = promote_run(opened, run, signing_key)
    if as_json:
        console.print_json({"release": done.digest, "folder": str(done.folder), "signed_by": done.signed_by,
                            "news": done.news})  # fmt: skip
        return
    said = "is signed" if done.news else "was signed before"
    console.print_line(f"release {done.digest[:12]} {said} by {done.signed_by}")
    console.print_line(f"hand out the folder {done.folder}; its dossier is {done.folder / 'dossier.html'}")


def _write_down(changes: Iterable[RunFacts], as_json: bool) -> RunFacts:
    """Print each change as a line, or as lines for people; return the last."""
    from server.facts import plain
    from server.operation.watching import lines

    before: RunFacts | None = None
    for now in changes:
        for line in [json.dumps(plain(now), sort_keys=True)] if as_json else lines(now, before):
            console.print_line(line)
        before = now
    assert before is not None, "a watch tells at least where the run stands"  # noqa: S101
    return before


def _site_row(site: SiteFacts) -> list[str]:
    seen = "never" if site.last_seen is None else site.last_seen.strftime("%Y-%m-%d %H:%M UTC")
    days = "-" if site.certificate_days is None else f"{site.certificate_days:.0f}"
    counts = [str(site.rounds), f"{site.faults} (last {site.last_fault})" if site.last_fault else "0"]
    return [site.name, site.health.value, seen, days, site.code_version or "-", *counts, site.fingerprint or "-"]


def _release_row(release: ReleaseFacts, consortium: Consortium) -> list[str]:
    promoted = "-" if release.promoted is None else release.promoted.strftime("%Y-%m-%d %H:%M UTC")
    signed = "damaged" if release.problem else "yes" if release.signed_by else "no"
    patients = ", ".join(f"{site} {count}" for site, count in (release.training_patients or {}).items())
    stages = ", ".join(stage.stage.value for stage in release.stages)
    dossier = str(consortium.releases / release.digest / "dossier.html")
    return [release.digest[:12], release.study or "-", promoted, signed, stages or "-", patients or "-", dossier]
