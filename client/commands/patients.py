"""The verbs about what training has taken from the site's patients: `withdraw` one of them, `ledger`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.commands.place import JsonOption, SiteOption, site_of
from common import console
from common.errors import DataError, StudyError

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verbs to `gliofed-client`."""
    app.command(epilog=console.epilog(f"{PROGRAM} withdraw patient-7 --site site.toml"))(withdraw)
    app.command(epilog=console.epilog(f"{PROGRAM} ledger --site site.toml"))(ledger)


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


def ledger(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Show what private training has cost this site's patients, study by study, and what is left.

    An entry counts from the moment it was reserved, whether or not its round ended.
    """
    from client.privacy.ledger_report import report_ledger

    config = site_of(site)
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
