"""`dossier.json`: on what data a release was trained, how well it does and where worst, what it may give away."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from common import console
from common.assessment.attack_figures import AttackRow
from common.assessment.dossier import MAX_DOSSIER_BYTES, Distance, MatrixRow, Roc
from common.errors import ReleaseError
from common.plan import SiteInventory
from common.release import Digest, IdentifierFacts, Release, StageFile, StagePrivacy
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.study import Study
from server.contract import contract_of
from server.journal import Journal

DOSSIER_JSON, DOSSIER_PAGE = "dossier.json", "dossier.html"


class Participation(Frozen):
    """One stage: the sites that were asked in some round, contributed to some, had nothing to learn, and how often
    each failed."""

    asked: tuple[str, ...]
    contributed: tuple[str, ...]
    sat_out: tuple[str, ...]
    faults: dict[str, int]


class Withdrawn(Frozen):
    """A site, or patients of a site, withdrawn from the run: how many rounds they may have had a part in."""

    site: str
    whole_site: bool
    rounds: int


class ReleaseDossier(Frozen):
    """The whole of `dossier.json`.

    Attributes:
        release: the release's digest.
        consortium: who hands it out.
        signed_by: fingerprint of the key that signed the release, and this file.
        promoted: when it was signed.
        run: identifier of the run that it came from.
        data: what each site said that it has, as the run's plan froze it: counts of patients.
        stages: each model's file, SHA-256 and lineage: rounds, patients by site, the sites behind each group.
        participation: by stage.
        withdrawn: by the day on which it was signed.
        started_from: digest of the release that the generator went on from.
        assessed: site → what it answered when it was asked to judge the release; empty where nobody was asked.
        metrics: every measure, all sites together and each, the worst named.
        distances, roc: distances between real and drawn slices; how well the BBB status is told.
        attacks: what attacks on the release achieved, with their bounds.
        privacy: by stage, what private training cost each site's patients; a stage that is not named is not private.
        identifier: how the BBB status is decided.
        study: all settings.
    """

    schema_version: Literal[1] = 1
    use: str = console.RESEARCH_USE
    release: Digest
    consortium: str
    signed_by: str
    promoted: datetime
    run: str
    code_version: str
    study_digest: Digest
    data: tuple[SiteInventory, ...]
    stages: dict[Stage, StageFile]
    participation: dict[Stage, Participation]
    withdrawn: tuple[Withdrawn, ...]
    started_from: str | None
    assessed: dict[str, str]
    metrics: tuple[MatrixRow, ...]
    distances: tuple[Distance, ...]
    roc: Roc | None
    attacks: tuple[AttackRow, ...]
    privacy: dict[Stage, StagePrivacy]
    identifier: IdentifierFacts | None
    study: Study

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def dossier_of(
    release: Release, journal: Journal, consortium: str, signed_by: str, promoted: datetime
) -> ReleaseDossier:
    """Return the dossier of a release that a run left behind.

    Raises:
        ReleaseError: where what the sites said of it was changed.
    """
    manifest, assessment = release.manifest, release.assessment()
    generator = release.study.stages.generator
    return ReleaseDossier(
        release=release.digest,
        consortium=consortium,
        signed_by=signed_by,
        promoted=promoted,
        run=journal.run,
        code_version=manifest.code_version,
        study_digest=manifest.study_digest,
        data=manifest.plan.inventory,
        stages=manifest.stages,
        participation=_participation(journal),
        withdrawn=tuple(
            Withdrawn(site=each["site"], whole_site=each["patients"] is None, rounds=len(each["rounds"]))
            for each in journal.withdrawn()
        ),
        started_from=None if generator is None else generator.start_from,
        assessed={} if assessment is None else {site: status.code for site, status in assessment.sites.items()},
        metrics=() if assessment is None else assessment.matrix,
        distances=() if assessment is None else assessment.distances,
        roc=None if assessment is None else assessment.roc,
        attacks=() if assessment is None else assessment.attacks,
        privacy=manifest.privacy,
        identifier=manifest.identifier,
        study=release.study,
    )


def read_release_dossier(path: Path) -> ReleaseDossier:
    """Read a `dossier.json`. Raises ReleaseError where it is missing, larger than any, or damaged."""
    try:
        if path.stat().st_size > MAX_DOSSIER_BYTES:
            raise ValueError
        return ReleaseDossier.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); promote the release again") from None
    except ValueError:
        raise ReleaseError(f"{path}: damaged, or not of this version; promote the release again") from None


def _participation(journal: Journal) -> dict[Stage, Participation]:
    found = {}
    for stage, kept in contract_of(journal).stages.items():
        failed = [fault.site for fault in journal.faults(stage)]
        faults = {site: failed.count(site) for site in sorted(set(failed))}
        found[stage] = Participation(
            asked=kept.asked, contributed=kept.contributed, sat_out=kept.sat_out, faults=faults
        )
    return found
