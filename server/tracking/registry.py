"""Promoted releases in MLflow's registry: a version each, with its dossier and pictures; never the weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import write_whole
from server.dossier import DOSSIER_JSON, DOSSIER_PAGE, pictures_of, read_release_dossier
from server.facts import ReleaseFacts
from server.tracking.run_mirror import run_in_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIGEST = "gliofed.release"
ALIAS = "promoted"
"""Alias of the version that was promoted last."""
SMALL = ("release.json", "release.sig", "assessment.json", DOSSIER_JSON, f"{DOSSIER_JSON}.sig", DOSSIER_PAGE)


def mirror_release(client: MlflowClient, release: ReleaseFacts, folder: Path) -> bool:
    """Register a promoted release, once; return whether that was news.

    Args:
        folder: of the release.
    Raises:
        ReleaseError: where its dossier is damaged.
    """
    name = f"gliofed-{release.study}"
    run = run_in_mlflow(client, release.stages[0].run)
    if run is None or release.digest in _registered(client, name):
        return False
    _hand_over(client, run, folder)
    _ensure_model(client, name)
    place = f"runs:/{run.info.run_id}/release-{release.digest[:12]}"
    version = client.create_model_version(name, place, run_id=run.info.run_id, tags=_tags(release))
    client.set_registered_model_alias(name, ALIAS, version.version)
    return True


def _registered(client: MlflowClient, name: str) -> set[str]:
    """Return the digests of the releases that have a version already."""
    found, token = set(), None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found |= {version.tags.get(DIGEST, "") for version in page}
        token = page.token
        if not token:
            return found


def _ensure_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Releases of this study. Research use only.")


def _hand_over(client: MlflowClient, run: Run, folder: Path) -> None:
    """Give MLflow what of a release people read, and its pictures."""
    place = f"release-{folder.name[:12]}"
    for name in SMALL:
        if (folder / name).is_file():
            client.log_artifact(run.info.run_id, str(folder / name), place)
    with tempfile.TemporaryDirectory() as aside:
        for name, picture in pictures_of(read_release_dossier(folder / DOSSIER_JSON)).items():
            write_whole(Path(aside) / name, picture.encode())
            client.log_artifact(run.info.run_id, str(Path(aside) / name), f"{place}/pictures")


def _tags(release: ReleaseFacts) -> dict[str, str]:
    """Return what a version says of itself."""
    tags = {
        DIGEST: release.digest,
        "gliofed.study": release.study_digest or "",
        "gliofed.code": release.code_version or "",
        "gliofed.signed_by": release.signed_by or "nobody",
        "gliofed.patients": ", ".join(f"{site} {count}" for site, count in (release.training_patients or {}).items()),
    }
    for stage in release.stages:
        epsilon = ", ".join(f"{site} {value:.3g}" for site, value in stage.epsilon.items())
        tags[f"gliofed.epsilon.{stage.stage.value}"] = epsilon or "not private"
    worst = {f"{row.measure} {row.of}": row for row in release.figures if row.model == "released" and row.worst_site}
    for name, row in worst.items():
        tags[f"gliofed.worst.{name.replace(' ', '.')}"] = f"{row.worst_site} {row.worst_mean:.3g}"
    return tags
