"""A run's release becomes one that the consortium hands out: signed, with its dossier, whole or not at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import GliofedError, ReleaseError, StudyError
from common.files import flush_folder, make_folder, write_whole
from common.release import Release, load_release
from common.release_signature import sign_release, verify_signature
from server.journal import Journal

if TYPE_CHECKING:
    from common.identity.signing import SigningKey, VerifyKey
    from server.consortium.folder import Consortium
    from server.dossier import ReleaseDossier


@dataclass(frozen=True)
class Promoted:
    """A signed release in the consortium's folder; `news` says whether this call put it there."""

    folder: Path
    digest: str
    signed_by: str
    news: bool


def promote(consortium: Consortium, out: Path, signing_key: Path | None = None) -> Promoted:
    """Sign the release of the run in `out` and copy it to the consortium's releases.

    A release that is there already, whole and signed, is left as it is.

    Args:
        signing_key: file of the consortium's signing key, where it lies elsewhere.
    Raises:
        StudyError: where `out` holds no run, or the key is missing or not the consortium's.
        ReleaseError: where the run has no release, or its release is damaged.
    """
    from common.identity.signing import VerifyKey

    pinned = VerifyKey.load(consortium.signing_pub)
    with Journal.look_into(out) as journal:
        release = _release_of(journal)
        place = consortium.releases / release.digest
        if _stands(place, pinned):
            return Promoted(place, release.digest, pinned.fingerprint, news=False)
        key = _key(signing_key or consortium.signing_key, pinned)
        dossier = _dossier(release, journal, consortium.settings.name, pinned.fingerprint)
        _put(release, place, key, dossier)
    _require_whole(place, pinned)
    return Promoted(place, release.digest, pinned.fingerprint, news=True)


def _release_of(journal: Journal) -> Release:
    """Return a run's release, all of it verified. Raises ReleaseError where the run has none that it knows of."""
    known = journal.releases()
    if not known:
        raise ReleaseError(f"{journal.out}: the run has no release yet; `gliofed-server status` says where it stands")
    release = load_release(journal.out / "release")
    if release.digest not in known:
        raise ReleaseError(
            f"{release.path}: is release {release.short}…, unknown to the run's journal; restore the run's own"
        )
    return release


def _stands(place: Path, pinned: VerifyKey) -> bool:
    """Return whether the release at `place` is whole and signed."""
    if not place.exists():
        return False
    try:
        _require_whole(place, pinned)
    except GliofedError:
        return False
    return True


def _require_whole(place: Path, pinned: VerifyKey) -> None:
    release = load_release(place)
    verify_signature(release, pinned)
    if release.digest != place.name:
        raise ReleaseError(f"{place}: holds release {release.short}…; remove the folder and promote again")


def _key(path: Path, pinned: VerifyKey) -> SigningKey:
    from common.identity.signing import SigningKey

    if not path.is_file():
        raise StudyError(
            f"{path}: the signing key is not here; bring the one that was moved off, with --signing-key FILE"
        )
    key = SigningKey.load(path)
    if key.public != pinned:
        raise StudyError(
            f"{path}: is {key.public.fingerprint}, the consortium's key is {pinned.fingerprint}; give that one"
        )
    return key


def _dossier(release: Release, journal: Journal, consortium: str, signed_by: str) -> ReleaseDossier:
    from server.dossier import dossier_of

    return dossier_of(release, journal, consortium, signed_by, datetime.now(UTC).replace(microsecond=0))


def _put(release: Release, place: Path, key: SigningKey, dossier: ReleaseDossier) -> None:
    """Write the folder aside, sign it, and rename it into its place; what stood there was damaged."""
    from common.identity.signing import Purpose, write_signed
    from server.dossier import DOSSIER_JSON, DOSSIER_PAGE, render_page

    aside = place.with_name(f".{place.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        make_folder(aside)
        for file in release.files:
            _copy(release.path / file, aside / file)
        sign_release(load_release(aside), key)
        write_signed(aside / DOSSIER_JSON, dossier.to_bytes(), key, Purpose.RELEASE)
        write_whole(aside / DOSSIER_PAGE, render_page(dossier).encode())
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
        flush_folder(place.parent)
    except OSError as error:
        raise GliofedError(f"{place}: cannot be written ({error.strerror}); free space, then promote again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
