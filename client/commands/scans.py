"""The verbs that look at a site's scans and change nothing: `check`, `catalog`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.place import FolderArgument, JsonOption, SiteOption, place_of
from common import console
from common.errors import DataError
from common.sequences import STRUCTURAL, Sequence

if TYPE_CHECKING:
    from client.data.catalog import Catalog, CatalogCase
    from client.data.checks.finding import Finding

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verbs to `gliofed-client`."""
    app.command(epilog=console.epilog(f"{PROGRAM} check ./scans"))(check)
    app.command(epilog=console.epilog(f"{PROGRAM} catalog ./scans --json"))(catalog)


def check(
    folder: FolderArgument = None,
    site: SiteOption = None,
    allow_warnings: Annotated[
        bool, typer.Option("--allow-warnings", help="Exit with 0 where a person has looked at all warnings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List everything wrong with a site's scans; change nothing.

    Names the file, what was found and what to do. Exits with 3 where there is an error, or a warning that was not
    allowed.
    """
    from client.data.catalog import survey_folder
    from client.data.checks.finding import Severity
    from client.data.integrity import check_catalog

    place, config = place_of(folder, site)
    found = survey_folder(place, config)
    with console.progress("checking cases") as advance:
        findings = check_catalog(found, on_case=advance)
    counts = Counter(finding.severity for finding in findings)
    if as_json:
        entries = [_finding_json(finding) for finding in findings]
        console.print_json({"folder": str(place), "cases": len(found.cases), "findings": entries})
    else:
        for finding in findings:
            console.print_line(f"{finding.severity.upper()} {_where(finding, place)}: {finding.finding}")
            console.print_line(f"    → {finding.remedy}")
        summary = ", ".join(console.count(counts[severity], severity.noun) for severity in Severity)
        console.print_line(f"{console.count(len(found.cases), 'case')}: {summary}")
    if counts[Severity.ERROR] or (counts[Severity.WARNING] and not allow_warnings):
        raise typer.Exit(DataError.exit_code)


def catalog(folder: FolderArgument = None, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List a site's cases: sequences, masks, labels, BBB status.

    Known layouts: BraTS 2021, BraTS 2023, BIDS, CBSI, UCSF-PDGM; any other by [layout.patterns] in site.toml.
    """
    from client.data.catalog import scan_folder

    place, config = place_of(folder, site)
    found = scan_folder(place, config)
    if as_json:
        console.print_json(_catalog_json(found))
        return
    words = [word for word in Sequence if word in STRUCTURAL or any(word in case.images for case in found.cases)]
    counts = f"{console.count(len(found.cases), 'case')} of {console.count(len(found.patients), 'patient')}"
    title = f"{found.folder}: {found.layout}, {counts}"
    rows = [_catalog_row(case, words) for case in found.cases]
    console.print_table(title, ["case", "patient", *words, "brain mask", "labels", "BBB", "grade"], rows)
    if found.ignored:
        console.print_line(f"{console.count(len(found.ignored), 'file')} left out (listed by --json)")
    for remark in found.remarks:
        console.print_line(f"{remark.severity}: {remark}")


def _where(finding: Finding, folder: Path) -> str:
    file = finding.file
    if file is not None and file.is_relative_to(folder.absolute()):
        file = file.relative_to(folder.absolute())
    return str(file or finding.case or folder)


def _catalog_row(case: CatalogCase, words: list[Sequence]) -> list[str]:
    status = {None: "-", True: "disrupted", False: "intact"}[case.bbb_disrupted]
    images = ["x" if word in case.images else "-" for word in words]
    masks = ["x" if case.brain_mask else "-", case.label_kind if case.labels else "-"]
    return [case.case, case.patient, *images, *masks, status, str(case.grade or "-")]


def _catalog_json(found: Catalog) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "layout": found.layout,
        "patients": len(found.patients),
        "cases": [
            {
                "case": case.case,
                "patient": case.patient,
                "images": {sequence.value: str(path) for sequence, path in case.images.items()},
                "brain_mask": str(case.brain_mask) if case.brain_mask else None,
                "labels": str(case.labels) if case.labels else None,
                "label_kind": case.label_kind.value,
                "bbb_disrupted": case.bbb_disrupted,
                "grade": case.grade,
            }
            for case in found.cases
        ],
        "ignored": [str(path) for path in found.ignored],
        "remarks": [_finding_json(remark) for remark in found.remarks],
    }


def _finding_json(finding: Finding) -> dict[str, str | None]:
    return {
        "severity": finding.severity.value,
        "case": finding.case or None,
        "file": str(finding.file) if finding.file else None,
        "finding": finding.finding,
        "remedy": finding.remedy,
        "code": finding.code,
    }
