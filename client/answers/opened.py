"""The sites that a process has opened, each under the plan that is approved at the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import Context

from client.answers.site_file import site_file
from client.config import load_site
from client.consent.approvals import require_approval
from client.limits import require_disk, require_hours
from client.privacy.withdrawal import withdrawn_patients
from client.site import Site, open_site
from common.errors import StudyError
from common.study import Study

Opener = Callable[[Path, Study], Site]


class OtherCodeError(StudyError):
    """Coordinator and site do not run the same code, so that no digest of a study could agree."""

    code = "other-code"


def open_from_file(path: Path, study: Study) -> Site:
    """Read a `site.toml` and open the site for `study`."""
    return open_site(load_site(path), study)


class OpenedSites:
    """The sites that this process has opened, by file and study: later rounds need not read the folder again.

    Unless a patient was withdrawn meanwhile.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._sites: dict[tuple[Path, str], Site] = {}

    def get(self, context: Context, study: Study, digest: str, incoming: int = 0) -> Site:
        """Return the site under the plan that is approved now, if its policy lets it work, on `incoming` bytes more.

        Raises:
            OtherCodeError: the study's digest is another here.
            PolicyError: nobody approved the study, or the policy's hours or disk forbid work now.
        """
        if study.digest != digest:
            raise OtherCodeError(f"study {study.name!r}: the coordinator runs other code; install the same version")
        path = site_file(context)
        config = load_site(path)
        approved = require_approval(config.workdir, config.policy, digest)
        require_hours(config.policy)
        require_disk(config.workdir, config.policy, incoming)
        site = self._sites.get((path, digest))
        if site is None or site.withdrawn != withdrawn_patients(site.workdir):
            site = self._sites[path, digest] = self._opener(path, study)
        return replace(site, approved=approved)
