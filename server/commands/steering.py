"""The verbs that say where a run stands and steer it: `status`, `pause`, `resume`, `stop`, `withdraw`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from common import console
from server.commands.cells import text_of

PROGRAM = "gliofed-server"

RunArgument = Annotated[Path, typer.Argument(show_default=False, help="The run's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `gliofed-server`."""
    app.command(epilog=console.epilog(f"{PROGRAM} status RUN"))(status)
    app.command(epilog=console.epilog(f"{PROGRAM} pause RUN"))(pause)
    app.command(epilog=console.epilog(f"{PROGRAM} resume RUN --superlink consortium"))(resume)
    app.command(epilog=console.epilog(f"{PROGRAM} stop RUN"))(stop)
    app.command(epilog=console.epilog(f"{PROGRAM} withdraw RUN --site hospital-a"))(withdraw)


def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Say where a run stands: stage, round, sites, faults, what was asked of it. Changes nothing."""
    from server.operation.steering import status as status_of

    facts = status_of(run)
    if as_json:
        console.print_json(facts)
        return
    where = (
        "every round counts" if facts["stage"] is None else f"{facts['stage']} {facts['round']} of {facts['rounds']}"
    )
    rows = [("state", facts["state"]), ("reason", facts["reason"] or "-"), ("round", where)]
    rows += [("accepted in it", text_of(facts["accepted"])), ("releases", text_of(facts["releases"]))]
    rows += [(f"{name} sites", text_of(list(sites))) for name, sites in facts["contract"].items() if name != "stages"]
    console.print_table(f"run {facts['run']} of study {facts['study']}", ["fact", "value"], rows)
    stages = [(stage, *map(text_of, map(list, kept.values()))) for stage, kept in facts["contract"]["stages"].items()]
    console.print_table("stages", ["stage", "asked", "contributed", "sat out"], stages)
    faults = [
        (each["at"], each["site"], each["code"], each["stage"] or "-", str(each["round"])) for each in facts["faults"]
    ]
    console.print_table("faults", ["at", "site", "code", "stage", "round"], faults)
    _print_withdrawals(facts["withdrawals"])


def pause(run: RunArgument) -> None:
    """Let a run stand still at its next safe point: between two answers, or two rounds."""
    from server.operation.steering import pause as pause_run

    console.print_line(pause_run(run))


def resume(
    run: RunArgument,
    superlink: Annotated[
        str | None, typer.Option(show_default=False, help="Connection in Flower's config.toml to submit the run to.")
    ] = None,
    source: Annotated[Path, typer.Option("--app", help="GlioFed's source folder, which Flower ships.")] = Path(),
) -> None:
    """Lift a pause; where nobody drives the run any more, submit it again, to go on after its last round."""
    from server.operation.steering import resume as resume_run

    console.print_line(resume_run(run, superlink, source))


def stop(run: RunArgument) -> None:
    """End a run for good, at the sites as well. What counts stands; the run is incomplete."""
    from server.operation.steering import stop as stop_run

    console.print_line(stop_run(run))


def withdraw(
    run: RunArgument,
    site: Annotated[str, typer.Option(show_default=False, help="The site that goes, or whose patients do.")],
    patients: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="So many of its patients by now, not the site.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Leave a site out of every later round, and say which rounds and releases it touched.

    A patient is withdrawn at the site, by `gliofed-client withdraw`; a run that goes on hears of it with the site's
    next answer, one that is over by `--patients`, which takes their number alone.
    """
    from server.operation.steering import withdraw as withdraw_site

    entry = withdraw_site(run, site, patients)
    if as_json:
        console.print_json(entry)
    else:
        _print_withdrawals([entry])


def _print_withdrawals(entries: list[dict[str, Any]]) -> None:
    """Print who was withdrawn, and what they touched."""
    rows = [
        (
            entry["site"],
            "the site" if entry["patients"] is None else console.count(entry["patients"], "patient"),
            ", ".join(f"{stage} {number}" for stage, number in entry["rounds"]) or "none",
            ", ".join(digest[:12] for digest in entry["releases"]) or "none",
        )
        for entry in entries
    ]
    console.print_table("withdrawn", ["site", "who", "rounds touched", "releases touched"], rows)
