"""Releases that were promoted: what each says of itself, the worst site first, and whether its signature stands.

A list verifies what is small: the manifest, its signature, the assessment. The weights are verified when a release is
promoted, and again wherever one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common.errors import GliofedError
from common.release import MANIFEST, Release, read_release
from common.release_signature import is_signed, verify_signature
from common.settings.stages import Stage
from server.consortium.folder import Consortium


@dataclass(frozen=True)
class FigureFacts:
    """One measure over all sites, and at the site that fares worst."""

    measure: str
    of: str
    model: str
    mean: float
    patients: int
    worst_site: str | None
    worst_mean: float | None


@dataclass(frozen=True)
class AttackFacts:
    """What an attack on the release achieved, and its bound."""

    attack: str
    measure: str
    reached: float
    at_most: float
    patients: str


@dataclass(frozen=True)
class StageOfRelease:
    """One model of a release: rounds, patients by site, epsilon by site (empty where it is not private)."""

    stage: Stage
    run: str
    rounds: int
    patients: Mapping[str, int]
    epsilon: Mapping[str, float]
    sha256: str


@dataclass(frozen=True)
class ReleaseFacts:
    """A release in the consortium's folder.

    Attributes:
        digest: its folder's name.
        problem: why it cannot be used; the fields below are empty then.
        signed_by: fingerprint of the consortium's key where the signature stands, None where it does not.
        promoted: when.
        sequences: site → sequence → patients, as the run's plan froze them.
        training_patients: by site.
        answered: site → what it answered to the assessment; empty where nobody was asked.
    """

    digest: str
    problem: str | None = None
    signed_by: str | None = None
    promoted: datetime | None = None
    study: str | None = None
    study_digest: str | None = None
    code_version: str | None = None
    stages: tuple[StageOfRelease, ...] = ()
    sequences: Mapping[str, Mapping[str, int]] | None = None
    training_patients: Mapping[str, int] | None = None
    answered: Mapping[str, str] | None = None
    figures: tuple[FigureFacts, ...] = ()
    attacks: tuple[AttackFacts, ...] = ()


def releases(consortium: Consortium) -> tuple[ReleaseFacts, ...]:
    """Return the consortium's releases, the last that was promoted first."""
    folder = consortium.releases
    places = [place for place in sorted(folder.iterdir()) if (place / MANIFEST).is_file()] if folder.is_dir() else []
    found = [_one(place, consortium) for place in places]
    never = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(found, key=lambda facts: (facts.promoted or never, facts.digest), reverse=True))


def _one(place: Path, consortium: Consortium) -> ReleaseFacts:
    from common.identity.signing import VerifyKey

    try:
        release = read_release(place)
        pinned = VerifyKey.load(consortium.signing_pub)
        signed_by = pinned.fingerprint if is_signed(place) else None
        if signed_by is not None:
            verify_signature(release, pinned)
        return release_facts(release, signed_by, datetime.fromtimestamp(place.stat().st_mtime, UTC))
    except GliofedError as error:
        return ReleaseFacts(place.name, problem=str(error))


def release_facts(release: Release, signed_by: str | None, promoted: datetime | None) -> ReleaseFacts:
    """Return what a release says of itself. Raises ReleaseError where its assessment was changed."""
    manifest, dossier = release.manifest, release.assessment()
    inventory = manifest.plan.inventory
    return ReleaseFacts(
        digest=release.digest,
        signed_by=signed_by,
        promoted=promoted,
        study=release.study.name,
        study_digest=manifest.study_digest,
        code_version=manifest.code_version,
        stages=tuple(_stage(release, stage) for stage in release.stages),
        sequences={entry.site: {name.value: number for name, number in entry.sequences.items()} for entry in inventory},
        training_patients={entry.site: entry.training_patients for entry in inventory},
        answered={} if dossier is None else {site: status.code for site, status in dossier.sites.items()},
        figures=() if dossier is None else tuple(
            FigureFacts(
                measure=row.measure,
                of=row.of,
                model=row.model,
                mean=row.pooled.mean,
                patients=row.pooled.patients,
                worst_site=row.worst_site,
                worst_mean=None if row.worst_site is None else row.sites[row.worst_site].mean,
            )
            for row in dossier.matrix
        ),
        attacks=() if dossier is None else tuple(
            AttackFacts(row.attack, row.measure, row.reached, row.at_most, row.patients) for row in dossier.attacks
        ),
    )  # fmt: skip


def _stage(release: Release, stage: Stage) -> StageOfRelease:
    entry, privacy = release.manifest.stages[stage], release.manifest.privacy.get(stage)
    return StageOfRelease(
        stage=stage,
        run=entry.lineage.run,
        rounds=entry.lineage.rounds,
        patients=entry.lineage.sites,
        epsilon={} if privacy is None else {site: spent.stage_epsilon for site, spent in privacy.sites.items()},
        sha256=entry.sha256,
    )
