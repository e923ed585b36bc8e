"""The verb `complete`: a release put to use on the cases of one hospital."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.commands.place import JsonOption, SiteOption, WorkersOption, site_of
from common import console

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-client`."""
    line = f"{PROGRAM} complete ./scans/patient-7 --release ./release --out ./completed"
    app.command(epilog=console.epilog(line))(complete)


def complete(
    case_or_folder: Annotated[
        Path, typer.Argument(show_default=False, help="Folder of one case, or of a site's scans.")
    ],
    release: Annotated[Path, typer.Option(show_default=False, help="Folder of a release (holds release.json).")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder for the results.")],
    site_name: Annotated[
        str | None, typer.Option(show_default=False, help="The site's name in the release; default: unknown centre.")
    ] = None,
    site: SiteOption = None,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Complete cases with a release, in their own space.

    Draws the missing sequences, harmonizes all, draws T1Gd as if the blood-brain barrier were disrupted and as if it
    were intact, segments the tumour and identifies the barrier's status. Everything drawn is marked synthetic, in
    its header and in a JSON file beside it.
    """
    from client.inference.complete import complete_folder
    from client.trusted_release import require_trusted

    config, doubt = site_of(site), require_trusted(release, site)
    if doubt is not None:
        console.warn(f"{release}: {doubt}")
    with console.progress("completing cases") as advance:
        completed = complete_folder(
            case_or_folder, release, out, site=config, site_name=site_name, workers=workers, on_case=advance
        )
    if as_json:
        entries = [{"case": each.case, "folder": str(each.folder), "bbb": each.bbb} for each in completed]
        console.print_json({"release": str(release), "completed": entries})
        return
    rows = [[each.case, str(each.bbb.get("status", "-")), str(len(each.files)), str(each.folder)] for each in completed]
    console.print_table(f"{console.count(len(rows), 'case')} completed", ["case", "BBB", "files", "folder"], rows)
