"""Whether a release comes from the consortium that this site joined: its signature against the key in the kit."""

from __future__ import annotations

from pathlib import Path

from client.enrolment.folder import SiteFolder
from common.identity.signing import VerifyKey
from common.release import read_release
from common.release_signature import verify_signature

UNCHECKED = (
    "nobody checked who made this release; give --site with the site.toml of a site that has joined, "
    "and its signature is held against the consortium's key"
)


def require_trusted(release: Path, site_toml: Path | None) -> str | None:
    """Verify the signature of a release where the site has a kit; else return what a reader should know.

    Raises:
        ReleaseError: where the release is not signed, or is damaged.
        SignatureError: where another key signed it.
    """
    if site_toml is None or not SiteFolder(site_toml).signing_pub.is_file():
        return UNCHECKED
    verify_signature(read_release(release), VerifyKey.load(SiteFolder(site_toml).signing_pub))
    return None
