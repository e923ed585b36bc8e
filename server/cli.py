"""`gliofed-server`: what a coordinator runs. `check` changes nothing and comes first.

Exit codes: 0 done; 2 the command line or the study is wrong; 4 the release is damaged; 6 the run is over, or nobody
drives it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from common import console
from common.release import Release, StagePrivacy, load_release
from common.study import Study, code_version, load_study
from server.commands import console as web_console
from server.commands import consortium, coordination, hosting, plan, tracking

PROGRAM = "gliofed-server"

app = console.new_app(
    "Check studies, verify releases, and coordinate a federation. No scan is ever here.", f"{PROGRAM} check study.toml"
)

RunArgument = Annotated[Path, typer.Argument(show_default=False, help="The run's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command(epilog=console.epilog(f"{PROGRAM} check study.toml"))
def check(
    study: Annotated[Path, typer.Argument(show_default=False, help="The study.toml.")], as_json: JsonOption = False
) -> None:
    """Parse a study and say what it asks for, with the digest that each site approves. Changes nothing."""
    facts = study_facts(load_study(study))
    if as_json:
        console.print_json(facts)
        return
    rows = [(name, _text(value)) for name, value in facts.items() if name != "stages"]
    console.print_table(f"study {facts['name']}", ["fact", "value"], rows)
    columns = ["stage", "rounds", "local steps", "batch size", "learning rate", "EMA decay"]
    console.print_table(
        "stages, in order", columns, [[_text(cell) for cell in stage.values()] for stage in facts["stages"]]
    )


@app.command(epilog=console.epilog(f"{PROGRAM} verify RUN/release"))
def verify(
    release: Annotated[Path, typer.Argument(show_default=False, help="A release's folder, or its run's.")],
    as_json: JsonOption = False,
) -> None:
    """Verify every digest of a release and print where it comes from; one changed byte ends with exit code 4."""
    facts = release_facts(load_release(release))
    if as_json:
        console.print_json(facts)
        return
    rows = [(name, _text(value)) for name, value in facts.items() if name not in ("stages", "assessment")]
    console.print_table(f"release {facts['digest'][:12]} is as it was written", ["fact", "value"], rows)
    columns = ["stage", "rounds", "patients by site", "epsilon by site", "SHA-256"]
    console.print_table("stages", columns, [[_text(cell) for cell in stage.values()] for stage in facts["stages"]])
    if facts["assessment"]:
        columns = ["measure", "of", "model", "all sites", "patients", "worst site"]
        figures = [[_text(cell) for cell in row.values()] for row in facts["assessment"]["figures"]]
        console.print_table(f"what the sites say: {_text(facts['assessment']['sites'])}", columns, figures)
    if facts["assessment"] and facts["assessment"]["attacks"]:
        columns = ["attack", "measure", "reached", "at most", "patients"]
        played = [[_text(cell) for cell in row.values()] for row in facts["assessment"]["attacks"]]
        console.print_table("what attacks at the sites achieved", columns, played)


@app.command(epilog=console.epilog(f"{PROGRAM} status RUN"))
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
    rows += [("accepted in it", _text(facts["accepted"])), ("releases", _text(facts["releases"]))]
    rows += [(f"{name} sites", _text(list(sites))) for name, sites in facts["contract"].items() if name != "stages"]
    console.print_table(f"run {facts['run']} of study {facts['study']}", ["fact", "value"], rows)
    stages = [(stage, *map(_text, map(list, kept.values()))) for stage, kept in facts["contract"]["stages"].items()]
    console.print_table("stages", ["stage", "asked", "contributed", "sat out"], stages)
    faults = [
        (each["at"], each["site"], each["code"], each["stage"] or "-", str(each["round"])) for each in facts["faults"]
    ]
    console.print_table("faults", ["at", "site", "code", "stage", "round"], faults)
    _print_withdrawals(facts["withdrawals"])


@app.command(epilog=console.epilog(f"{PROGRAM} pause RUN"))
def pause(run: RunArgument) -> None:
    """Let a run stand still at its next safe point: between two answers, or two rounds."""
    from server.operation.steering import pause as pause_run

    console.print_line(pause_run(run))


@app.command(epilog=console.epilog(f"{PROGRAM} resume RUN --superlink consortium"))
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


@app.command(epilog=console.epilog(f"{PROGRAM} stop RUN"))
def stop(run: RunArgument) -> None:
    """End a run for good, at the sites as well. What counts stands; the run is incomplete."""
    from server.operation.steering import stop as stop_run

    console.print_line(stop_run(run))


@app.command(epilog=console.epilog(f"{PROGRAM} withdraw RUN --site hospital-a"))
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


def study_facts(study: Study) -> dict[str, Any]:
    """Return what a study asks for, as plain values."""
    stages = [(stage, study.stages.of(stage)) for stage in study.stages.present]
    federation, grid = study.federation, study.grid
    spacing_mm = " x ".join(f"{step:g}" for step in grid.spacing_mm)
    return {
        "name": study.name,
        "digest": study.digest,
        "code_version": code_version(),
        "size": study.size,
        "seed": study.seed,
        "sites": list(study.sites),
        "reference_site": study.reference_site,
        "sequences": [sequence.value for sequence in study.sequences],
        "grid": f"{grid.shape[0]} x {grid.shape[1]} at {spacing_mm} mm",
        "quorum": f"{federation.quorum} of {len(study.sites)}",
        "required_sites": list(federation.required),
        "deadline_s": federation.deadline_s,
        "weight_cap_patients": federation.weight_cap_patients,
        "secure_aggregation": _sums(study),
        "holdout_fraction": study.data.holdout_fraction,
        "minimum_patients": study.data.minimum_patients,
        "minimum_count_behind_a_number": study.reporting.minimum_count,
        "stages": [
            {
                "stage": stage.value,
                "rounds": settings.rounds,
                "local_steps": settings.local_steps,
                "batch_size": settings.batch_size,
                "learning_rate": settings.learning_rate,
                "ema_decay": settings.ema_decay,
            }
            for stage, settings in stages
            if settings is not None
        ],
    }


def _sums(study: Study) -> str:
    """Return whether updates are summed under masks, and how many sites open a sum."""
    settings, sites = study.secure_aggregation, len(study.sites)
    return f"sums alone, opened by {settings.needed(sites)} of {sites}" if settings.enabled else "off"


def release_facts(release: Release) -> dict[str, Any]:
    """Return what a release says of itself, as plain values."""
    manifest = release.manifest
    return {
        "digest": release.digest,
        "study": release.study.name,
        "study_digest": manifest.study_digest,
        "code_version": manifest.code_version,
        "reference_site": release.study.reference_site,
        "domains": [domain.key for domain in release.domains if not domain.lesion],
        "bbb_thresholds": "none" if manifest.identifier is None else manifest.identifier.note,
        "calibrated": manifest.identifier is not None and manifest.identifier.calibration is not None,
        "use": console.RESEARCH_USE,
        "stages": [
            {
                "stage": stage.value,
                "rounds": manifest.stages[stage].lineage.rounds,
                "patients": manifest.stages[stage].lineage.sites,
                "epsilon": _epsilons(manifest.privacy.get(stage)),
                "sha256": manifest.stages[stage].sha256,
            }
            for stage in release.stages
        ],
        "assessment": assessment_facts(release),
    }


def _epsilons(privacy: StagePrivacy | None) -> dict[str, float] | str:
    """Return what a private stage has cost each site's patients; the release says at which delta."""
    if privacy is None:
        return "not private"
    return {site: round(spent.stage_epsilon, 3) for site, spent in privacy.sites.items()}


def assessment_facts(release: Release) -> dict[str, Any] | None:
    """Return who judged a release and the pooled figures of its matrix; None where nobody was asked."""
    dossier = release.assessment()
    if dossier is None:
        return None
    return {
        "sites": {site: status.code for site, status in dossier.sites.items()},
        "figures": [
            {
                "measure": row.measure,
                "of": row.of,
                "model": row.model,
                "all_sites": row.pooled.mean,
                "patients": row.pooled.patients,
                "worst_site": row.worst_site or "none to compare",
            }
            for row in dossier.matrix
        ],
        "attacks": [asdict(row) for row in dossier.attacks],
    }


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


def _text(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items())
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


TOPICS: tuple[ModuleType, ...] = (consortium, hosting, plan, coordination, tracking, web_console)
"""Modules of `server/commands`, each of which registers the verbs of one topic."""

for topic in TOPICS:
    topic.register(app)


def main() -> None:
    """Run the program."""
    sys.exit(console.run(app, PROGRAM))


if __name__ == "__main__":
    main()
