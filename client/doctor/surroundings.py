"""What the checks look at: the site's folder and settings, the study, and the machine by way of a few seams."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from client.doctor.finding import NotCheckedError
from client.doctor.trial import Order, Trial, small_study, try_in_a_process
from client.limits import local_now
from common.errors import GliofedError
from common.study import Study

if TYPE_CHECKING:
    from client.config import SiteConfig
    from client.data.catalog import Catalog
    from client.data.checks.finding import Finding as ScanFinding
    from client.doctor.look import Look
    from client.enrolment.folder import SiteFolder
    from common.approval.study_plan import StudyPlan
    from common.identity.card import ConsortiumCard


class Disk(Protocol):
    """A disk's bytes: all, and those that are free to this program."""

    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


PATIENCE_S = 5.0
"""How long the network may take to answer a question."""


def is_writable(folder: Path) -> bool:
    """Say whether this process could change a folder; a read-only mount keeps even root from it."""
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def resolve(host: str) -> tuple[str, ...]:
    """Return the addresses of a host. Raises OSError where there are none."""
    import socket

    found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True)
class Surroundings:
    """A site as the doctor meets it; what is dear to find out is found out once, by the first check that asks.

    Attributes:
        site: the site's folder.
        study: what is to be trained; None where the checks are for the site alone.
        plan: the signed plan that the study came with.
        root: where the system's own files are: `proc`, `dev`, `etc`, `run`, `sys`.
        now, resolve, disk, writable, version, attempt: how to ask the clock, DNS, a disk, a folder, a package, and
            what a training step takes.
        on_progress: called with (done, total) while a check reads many scans.
        patience_s: how long the network may take to answer a question.
    """

    site: SiteFolder
    study: Study | None = None
    plan: StudyPlan | None = None
    root: Path = Path("/")
    now: Callable[[], datetime] = local_now
    resolve: Callable[[str], tuple[str, ...]] = resolve
    disk: Callable[[Path], Disk] = shutil.disk_usage
    writable: Callable[[Path], bool] = is_writable
    version: Callable[[str], str] = metadata.version
    attempt: Callable[[Order], Trial] = try_in_a_process
    on_progress: Callable[[int, int], None] = lambda done, total: None
    patience_s: float = PATIENCE_S

    @cached_property
    def config(self) -> SiteConfig:
        """The site's settings. Raises NotCheckedError where they cannot be read, which a check of its own tells."""
        try:
            return self.site.config
        except GliofedError:
            raise NotCheckedError("site.toml cannot be read") from None

    @cached_property
    def card(self) -> ConsortiumCard:
        """Where the server is. Raises NotCheckedError where the site has not joined."""
        from client.enrolment.joining import installed_card

        try:
            card = installed_card(self.site)
        except GliofedError:
            raise NotCheckedError("the kit cannot be read") from None
        if card is None:
            raise NotCheckedError("the site has not joined")
        return card

    @property
    def wanted(self) -> Study:
        """The study. Raises NotCheckedError where none was given."""
        if self.study is None:
            raise NotCheckedError("no study; give one with --study or --plan")
        return self.study

    @cached_property
    def look(self) -> Look:
        """What the server answers, asked once."""
        from client.doctor.look import look_at

        _, card = self.config, self.card  # without either there is nobody to ask
        return look_at(self.site, card, self.now, self.patience_s)

    @cached_property
    def catalog(self) -> Catalog:
        """The site's cases by name. Raises NotCheckedError where nothing is understood, which a check tells."""
        from client.data.catalog import survey_folder

        try:
            return survey_folder(self.config.folder, self.config)
        except GliofedError:
            raise NotCheckedError("no scans are understood") from None

    @cached_property
    def scans(self) -> tuple[ScanFinding, ...]:
        """Everything wrong with the scans; every file is read once."""
        from client.data.integrity import check_catalog

        return tuple(check_catalog(self.catalog, on_case=self.on_progress))

    @cached_property
    def trial(self) -> Trial:
        """What the machine is, and what training steps of the study take on it."""
        return self.attempt(Order.of(self.config, self.study or small_study(self.config.name)))

    def system(self, name: str) -> str | None:
        """Return what a file of the system says; None where it cannot be read."""
        try:
            return (self.root / name).read_text("utf-8", "replace")
        except OSError:
            return None
