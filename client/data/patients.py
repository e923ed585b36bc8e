"""Who a case belongs to, and what tables beside the scans say of that patient: BBB status and grade."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from client.config import PatientKey
from client.data.checks.finding import Finding, Severity
from client.data.layouts.participants import Participant, find_tables, read_participants, read_ucsf_metadata
from common.errors import DataError

if TYPE_CHECKING:
    from client.data.catalog import CatalogCase


def join_tables(
    cases: Sequence[CatalogCase], folders: tuple[Path, ...], key: PatientKey, whole_site: bool
) -> tuple[list[CatalogCase], list[Finding]]:
    """Return the cases with patient key, BBB status and grade, and what does not fit together.

    Args:
        cases: cases as their file names tell them.
        folders: where `participants.tsv` or UCSF-PDGM's metadata may lie, the first found counts.
        key: where the patient key comes from.
        whole_site: all cases are there, so that a listed participant without scans is worth a remark.
    """
    tables, metadata = find_tables(folders)
    rows: dict[str, Participant] = {}
    remarks: list[Finding] = []
    readers = [(path, read_ucsf_metadata) for path in metadata[:1]] + [(path, read_participants) for path in tables[:1]]
    for path, read in readers:
        try:
            listed = read(path)
        except DataError as error:
            remarks += [_wrong_line(path, line) for line in str(error).splitlines()]
            continue
        rows |= listed
        if whole_site and read is read_participants:
            remarks += _strangers(path, listed, cases)
    joined = []
    for case in cases:
        row = rows.get(case.case) or rows.get(case.patient) or Participant()
        patient, problems = _patient_key(case, row, key)
        remarks += problems + _contradiction(case, row)
        status = case.bbb_disrupted if row.bbb_disrupted is None else row.bbb_disrupted
        joined.append(replace(case, patient=patient, bbb_disrupted=status, grade=row.grade or case.grade))
    return joined, remarks


def _wrong_line(path: Path, problem: str) -> Finding:
    text, _, remedy = problem.removeprefix(f"{path}:").rpartition("; ")
    return Finding(Severity.ERROR, "", path, text.strip(), remedy, "participants")


def _strangers(path: Path, listed: Iterable[str], cases: Sequence[CatalogCase]) -> list[Finding]:
    """Return a remark for each listed participant without scans: a misspelt name would lose its BBB status silently."""
    known = {case.case for case in cases} | {case.patient for case in cases}
    remedy = "correct the name, or remove the line"
    return [
        Finding(Severity.WARNING, name, path, "listed, but has no scans here", remedy, "no-scans")
        for name in listed
        if name not in known
    ]


def _contradiction(case: CatalogCase, row: Participant) -> list[Finding]:
    if case.bbb_disrupted is None or row.bbb_disrupted in (None, case.bbb_disrupted):
        return []
    text = "its ET- folder and participants.tsv give opposite BBB statuses"
    return [Finding(Severity.ERROR, case.case, None, text, "make the folder and the table agree", "two-statuses")]


def _patient_key(case: CatalogCase, row: Participant, key: PatientKey) -> tuple[str, list[Finding]]:
    """Return the patient key from where `key` says, or the layout's with a finding where that place lacks it."""
    if key.source == "pattern":
        match = re.search(key.pattern or "", case.case)
        if match and match[1]:
            return match[1], []
        return case.patient, [
            _no_patient(case, "patient.pattern in site.toml does not match its name", "widen the pattern")
        ]
    if key.source == "participants" and row.patient is None:
        remedy = "add it, or set patient.source in site.toml"
        return case.patient, [_no_patient(case, "no patient_id in participants.tsv", remedy)]
    return (case.patient if key.source == "layout" or row.patient is None else row.patient), []


def _no_patient(case: CatalogCase, text: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, case.case, None, text, remedy, "no-patient")
