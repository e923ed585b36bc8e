"""Which site a verb is about, and where its scans lie: for the verbs that need no site.toml, but heed one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import StudyError

if TYPE_CHECKING:
    from client.config import SiteConfig

FolderArgument = Annotated[
    Path | None,
    typer.Argument(show_default=False, help="Folder of the site's scans, or of one case; default: the site's."),
]
SiteOption = Annotated[
    Path | None,
    typer.Option("--site", show_default=False, help="site.toml: layout, patient key and policy of the site."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=256, help="Cases worked on at a time.")]


def site_of(site: Path | None) -> SiteConfig | None:
    """Return the settings of a site; None where no site.toml is named."""
    from client.config import load_site

    return load_site(site) if site is not None else None


def place_of(folder: Path | None, site: Path | None) -> tuple[Path, SiteConfig | None]:
    """Return the folder to read and the site's settings. Raises StudyError where neither says where the scans are."""
    config = site_of(site)
    if folder is None and config is None:
        raise StudyError("no folder; give the folder of the scans, or a site.toml with --site")
    return (folder if folder is not None or config is None else config.folder) or Path(), config
