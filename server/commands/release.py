"""The verb `verify`: whether a release is as it was written, and what it says of itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common import console
from server.commands.cells import rows_of, text_of

if TYPE_CHECKING:
    from common.release import Release, StagePrivacy

PROGRAM = "gliofed-server"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-server`."""
    app.command(epilog=console.epilog(f"{PROGRAM} verify RUN/release"))(verify)


def verify(
    release: Annotated[Path, typer.Argument(show_default=False, help="A release's folder, or its run's.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Verify every digest of a release and print where it comes from; one changed byte ends with exit code 4."""
    from common.release import load_release

    facts = _release_facts(load_release(release))
    if as_json:
        console.print_json(facts)
        return
    rows = [(name, text_of(value)) for name, value in facts.items() if name not in ("stages", "assessment")]
    console.print_table(f"release {facts['digest'][:12]} is as it was written", ["fact", "value"], rows)
    columns = ["stage", "rounds", "patients by site", "epsilon by site", "SHA-256"]
    console.print_table("stages", columns, rows_of(facts["stages"]))
    if facts["assessment"]:
        columns = ["measure", "of", "model", "all sites", "patients", "worst site"]
        figures = rows_of(facts["assessment"]["figures"])
        console.print_table(f"what the sites say: {text_of(facts['assessment']['sites'])}", columns, figures)
    if facts["assessment"] and facts["assessment"]["attacks"]:
        columns = ["attack", "measure", "reached", "at most", "patients"]
        played = rows_of(facts["assessment"]["attacks"])
        console.print_table("what attacks at the sites achieved", columns, played)


def _release_facts(release: Release) -> dict[str, Any]:
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
        "assessment": _assessment_facts(release),
    }


def _epsilons(privacy: StagePrivacy | None) -> dict[str, float] | str:
    """Return what a private stage has cost each site's patients; the release says at which delta."""
    if privacy is None:
        return "not private"
    return {site: round(spent.stage_epsilon, 3) for site, spent in privacy.sites.items()}


def _assessment_facts(release: Release) -> dict[str, Any] | None:
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
