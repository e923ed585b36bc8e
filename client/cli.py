"""`gliofed-client`: what a hospital runs. `check` changes nothing and comes first.

Exit codes: 0 done; 2 the command line, site.toml or the study is wrong; 3 scans are wrong; 4 the release is damaged
or does not fit; 5 the site does not allow it; 130 interrupted.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from client.commands import audit, consent, dicom, doctor, enrolment, node
from common import console
from common.errors import DataError, StudyError
from common.sequences import STRUCTURAL, Sequence

if TYPE_CHECKING:
    from client.config import SiteConfig
    from client.data.catalog import Catalog, CatalogCase
    from client.data.checks.finding import Finding

PROGRAM = "gliofed-client"

app = console.new_app(
    "Look at, check, prepare and complete one hospital's brain-tumour MRI. Scans are read, never written to.",
    f"{PROGRAM} check ./scans",
)

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


@app.command(epilog=console.epilog(f"{PROGRAM} catalog ./scans --json"))
def catalog(folder: FolderArgument = None, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List a site's cases: sequences, masks, labels, BBB status.

    Known layouts: BraTS 2021, BraTS 2023, BIDS, CBSI, UCSF-PDGM; any other by [layout.patterns] in site.toml.
    """
    from client.data.catalog import scan_folder

    place, config = _place(folder, site)
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


@app.command(epilog=console.epilog(f"{PROGRAM} check ./scans"))
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

    place, config = _place(folder, site)
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


@app.command(epilog=console.epilog(f"{PROGRAM} prepare ./scans --study study.toml --cache ./cache --workers 4"))
def prepare(
    folder: FolderArgument = None,
    cache: Annotated[Path | None, typer.Option(show_default=False, help="Cache folder; default: the site's.")] = None,
    study: Annotated[Path | None, typer.Option(show_default=False, help="study.toml, for its voxel grid.")] = None,
    site: SiteOption = None,
    register: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(help="Align sequences; auto trusts one grid of stripped scans."),
    ] = "auto",
    n4: Annotated[bool, typer.Option("--n4/--no-n4", help="Correct the bias field.")] = True,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Bring every case to the study's grid and cache its slices.

    Orientation, bias field, registration, brain extraction, grey normalisation. A second run does nothing; after an
    interruption the same command goes on. Exits with 3 where a case could not be prepared; the others are.
    """
    place, config = _place(folder, site)
    target = _cache_folder(cache, place, config)

    from client.data.catalog import scan_folder
    from client.data.preprocessing import PrepareSettings, prepare_cases
    from common.study import load_study

    settings = PrepareSettings() if study is None else PrepareSettings.of(load_study(study))
    settings = settings.model_copy(update={"n4": n4, "register_sequences": register})
    cases = list(scan_folder(place, config).cases)
    with console.progress("preparing cases") as advance:
        outcome = prepare_cases(cases, settings, target, workers=workers, on_case=advance)
    if as_json:
        prepared = {case.case: str(case.path) for case in outcome.cases}
        console.print_json({"cache": str(target), "prepared": prepared, "failures": dict(outcome.failures)})
    else:
        for case, reason in sorted(outcome.failures.items()):
            console.print_line(f"ERROR {case}: {reason}")
        console.print_line(f"{len(outcome.cases)} of {len(cases)} cases prepared in {target}")
    if outcome.failures:
        raise typer.Exit(DataError.exit_code)


@app.command(epilog=console.epilog(f"{PROGRAM} complete ./scans/patient-7 --release ./release --out ./completed"))
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

    config, doubt = _load(site), require_trusted(release, site)
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


@app.command(epilog=console.epilog(f"{PROGRAM} ledger --site site.toml"))
def ledger(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Show what private training has cost this site's patients, study by study, and what is left.

    An entry counts from the moment it was reserved, whether or not its round ended.
    """
    from client.privacy.ledger_report import report_ledger

    config = _load(site)
    if config is None:
        raise StudyError("no site; give its site.toml with --site")
    report = report_ledger(config)
    if as_json:
        console.print_json(report)
        return
    columns = ["study", "digest", "stages", "rounds", "noisy steps", "epsilon", "by RDP", "delta"]
    rows = [
        [each["name"], each["digest"][:12], ", ".join(each["stages"]), str(each["rounds"]), str(each["steps"]),
         f"{each['epsilon']:.3g}", f"{each['epsilon_rdp']:.3g}", f"{each['delta']:g}"]
        for each in report["studies"]
    ]  # fmt: skip
    console.print_table(f"{report['site']}: spent on private training", columns, rows)
    left = "no budget in site.toml" if report["left"] is None else f"{report['left']:.3g} of {report['budget']:g} left"
    console.print_line(f"over all studies: epsilon {report['epsilon']:.3g} at delta {report['delta']:g}; {left}")


@app.command(epilog=console.epilog(f"{PROGRAM} stop 0123456789abcdef --site site.toml"))
def stop(
    run: Annotated[str, typer.Argument(show_default=False, help="The run's identifier, 16 hexadecimal digits.")],
    site: Annotated[Path, typer.Option("--site", show_default=False, help="The site's site.toml.")],
) -> None:
    """Take no task of a run any more, and forget what was kept for it; a round at work ends at its next step."""
    from client.config import load_site
    from client.consent.decisions import stop as stop_here

    if not re.fullmatch(r"[0-9a-f]{16}", run):
        raise StudyError(f"{run!r}: no run's identifier; give the 16 hexadecimal digits that the coordinator names")
    stop_here(load_site(site), run)
    console.print_line(f"run {run} is over at this site")


@app.command(epilog=console.epilog(f"{PROGRAM} withdraw patient-7 --site site.toml"))
def withdraw(
    patient: Annotated[str, typer.Argument(show_default=False, help="The patient's key, as `catalog` shows it.")],
    site: Annotated[Path, typer.Option("--site", show_default=False, help="The site's site.toml.")],
    as_json: JsonOption = False,
) -> None:
    """Leave a patient out of every round from the next one on, and list the rounds that may have used the patient.

    The key stays here. The coordinator learns how many patients were withdrawn, with the next answer.
    """
    from client.config import load_site
    from client.data.catalog import scan_folder
    from client.privacy.withdrawal import runs_of, withdraw_patient

    config = load_site(site)
    runs = runs_of(config.workdir, patient)
    if not runs and patient not in scan_folder(config.folder, config).patients:
        raise DataError(f"{patient!r}: no patient of this site; give the key that `{PROGRAM} catalog` shows")
    withdraw_patient(config.workdir, patient)
    if as_json:
        console.print_json({"patient": patient, "runs": runs})
        return
    rows = [[run, ", ".join(f"{stage} {number}" for stage, number in rounds)] for run, rounds in runs.items()]
    console.print_table(f"{patient} is withdrawn; rounds that may have used the patient:", ["run", "rounds"], rows)


TOPICS: tuple[ModuleType, ...] = (enrolment, consent, audit, dicom, node, doctor)
"""Modules of `client/commands`, each of which registers the verbs of one topic."""

for topic in TOPICS:
    topic.register(app)


def main() -> None:
    """Entry point of `gliofed-client`."""
    sys.exit(console.run(app, PROGRAM))


def _load(site: Path | None) -> SiteConfig | None:
    from client.config import load_site

    return load_site(site) if site is not None else None


def _place(folder: Path | None, site: Path | None) -> tuple[Path, SiteConfig | None]:
    """Return the folder to read and the site's settings. Raises StudyError where neither says where the scans are."""
    config = _load(site)
    if folder is None and config is None:
        raise StudyError("no folder; give the folder of the scans, or a site.toml with --site")
    return (folder if folder is not None or config is None else config.folder) or Path(), config


def _cache_folder(cache: Path | None, place: Path, config: SiteConfig | None) -> Path:
    """Return where `prepare` writes. Raises StudyError where nothing says so, or the scans lie there."""
    target = cache or (config.workdir / "cache" if config is not None else None)
    if target is None:
        raise StudyError("no cache folder; give --cache DIR, or a site.toml with --site")
    if target.resolve().is_relative_to(place.resolve()):
        raise StudyError(f"{target}: lies inside the scans, which are never written to; choose a folder beside them")
    return target


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


if __name__ == "__main__":
    main()
