"""The release: frozen averaged weights of every stage with their lineage, written so that it appears whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.assessment.dossier import DOSSIER, Dossier
from common.files import flush_folder, write_whole
from common.plan import Plan
from common.records import Greys
from common.release import (
    MANIFEST,
    GreyConstants,
    Lineage,
    Manifest,
    Release,
    StageFile,
    StagePrivacy,
    file_digest,
    load_release,
)
from common.sequences import Sequence
from common.settings.stages import Stage
from common.spent import Spent
from common.study import Study, code_version
from server.journal import Journal
from server.operating_facts import identifier_facts


def write_release(journal: Journal, dossier: Dossier | None = None) -> Release:
    """Write `<out>/release` from the journal's finished stages; the same journal gives the same bytes.

    What the sites said of it, where they were asked, lies in it as `assessment.json`.

    The folder is written aside and renamed, so that a reader never meets a part of it.
    """
    study, plan = journal.study, journal.plan()
    aside, final = journal.out / ".release.part", journal.out / "release"
    shutil.rmtree(aside, ignore_errors=True)
    stages = {stage: _copy_weights(journal, stage, aside) for stage in study.stages.released}
    manifest = Manifest(
        study=study,
        study_digest=study.digest,
        plan=plan,
        code_version=code_version(),
        stages=stages,
        greys=reference_greys(study, plan, journal.greys()),
        identifier=identifier_facts(journal),
        assessment=None if dossier is None else _write_dossier(dossier, aside),
        privacy={stage: privacy_of(study, journal.records(stage)) for stage in study.privacy.stages},
    )
    write_whole(aside / MANIFEST, manifest.to_bytes())
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    flush_folder(journal.out)
    release = load_release(final)
    journal.release(release.digest)
    return release


def reference_greys(
    study: Study, plan: Plan, greys: Mapping[str, Mapping[Sequence, Greys]]
) -> dict[Sequence, GreyConstants]:
    """Return each sequence's median constants at the reference site, or at the first site by name that gave them."""
    order = [study.reference_site, *(entry.site for entry in plan.inventory if entry.site != study.reference_site)]
    found: dict[Sequence, GreyConstants] = {}
    for sequence in study.sequences:
        for site in order:
            if sequence in greys.get(site, {}):
                found[sequence] = GreyConstants(site=site, constants=greys[site][sequence].constants)
                break
    return found


def lineage(run: str, records: list[dict[str, Any]]) -> Lineage:
    """Return where a stage's weights come from, by the records of its rounds.

    A group does not move in a round in which too few sites trained it for the rule.
    """
    sites: dict[str, int] = {}
    groups: dict[str, set[str]] = {}
    for record in records:
        for site, entry in record["sites"].items():
            for group, patients in entry.get("patients", {}).items():
                sites[site] = max(sites.get(site, 0), patients)
                if group not in record.get("too_few_sites", {}):
                    groups.setdefault(group, set()).add(site)
    return Lineage(
        run=run,
        rounds=len(records),
        sites=dict(sorted(sites.items())),
        groups={group: tuple(sorted(groups[group])) for group in sorted(groups)},
    )


def _write_dossier(dossier: Dossier, folder: Path) -> str:
    write_whole(folder / DOSSIER, dossier.to_bytes())
    return file_digest(folder / DOSSIER)


def privacy_of(study: Study, records: list[dict[str, Any]]) -> StagePrivacy:
    """Return what a private stage has cost each site, by the records of its rounds: their last word counts."""
    sites = {
        site: Spent.model_validate(entry["spent"])
        for record in records
        for site, entry in record["sites"].items()
        if "spent" in entry
    }
    settings = study.privacy
    return StagePrivacy(
        noise_multiplier=settings.noise_multiplier,
        clip_norm=settings.clip_norm,
        sampling_rate=settings.sampling_rate,
        sites=dict(sorted(sites.items())),
    )


def _copy_weights(journal: Journal, stage: Stage, folder: Path) -> StageFile:
    name = f"{stage.value}.safetensors"
    write_whole(folder / name, journal.weights(stage).read_bytes())
    return StageFile(file=name, sha256=file_digest(folder / name), lineage=lineage(journal.run, journal.records(stage)))
