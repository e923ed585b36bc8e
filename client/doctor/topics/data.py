"""Whether the scans are what a study can learn from, and give nobody away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from client.data.catalog import CatalogCase
from client.data.checks.finding import Finding as ScanFinding
from client.data.checks.finding import Severity
from client.doctor.check import Check, Topic
from client.doctor.faces import shows_face
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from common.console import count
from common.errors import DataError
from common.sequences import STRUCTURAL, Sequence

PERSONAL, DUPLICATE = "personal", "duplicate"
LOOK = "run `gliofed-client check`, which names each file and its remedy"
MOST_FACES = 50
"""Cases that are looked at for a face, spread over all: it takes about a second a scan."""


def catalog(around: Surroundings) -> Finding:
    """Whether the names of the scans are understood."""
    from client.data.catalog import survey_folder

    config = around.config
    survey_folder(config.folder, config)  # raises what `around.catalog` keeps to itself
    found = around.catalog
    figures = {"cases": len(found.cases), "patients": len(found.patients), "problems": len(found.remarks)}
    errors = [remark for remark in found.remarks if remark.severity is Severity.ERROR]
    if errors:
        return failed(
            "names", f"{count(len(errors), 'problem')} of names and tables, the first: {errors[0]}", LOOK, **figures
        )
    if not found.cases:
        return failed("no-cases", "there is no case", "correct folder or [layout] in site.toml", **figures)
    said = f"{count(len(found.cases), 'case')} of {count(len(found.patients), 'patient')}, layout {found.layout}"
    if found.remarks:
        return warned(
            "names", f"{said}; {count(len(found.remarks), 'remark')}, the first: {found.remarks[0]}", LOOK, **figures
        )
    return passed(said, **figures)


def scans(around: Surroundings) -> Finding:
    """Whether every file can be read and holds what its name says."""
    names = {str(remark) for remark in around.catalog.remarks}  # told by the check before
    found = [each for each in around.scans if each.code not in (PERSONAL, DUPLICATE) and str(each) not in names]
    return _judged(found, "scans", "every scan can be read and is what its name says")


def duplicates(around: Surroundings) -> Finding:
    """Whether one image counts as two patients, or two sequences."""
    found = [each for each in around.scans if each.code == DUPLICATE and each.severity is not Severity.INFORMATION]
    return _judged(found, "duplicates", "no image lies here twice under different names")


def identifiers(around: Surroundings) -> Finding:
    """Whether headers and sidecars hold names or dates."""
    found = [each for each in around.scans if each.code == PERSONAL]
    return _judged(found, "identifiers", "no header or sidecar holds a name or a date")


def _judged(found: Iterable[ScanFinding], code: str, fine: str) -> Finding:
    """Return the finding for some findings in scans: an error fails, a warning warns."""
    counts = Counter(each.severity for each in found)
    kinds = Counter(each.code for each in found if each.severity is not Severity.INFORMATION)
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    if not errors + warnings:
        return passed(fine)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    figures = {"errors": errors, "warnings": warnings}
    first = next(each for each in found if each.severity is (Severity.ERROR if errors else Severity.WARNING))
    what = f"{said}; the first: {first.case} {first.file or ''}: {first.finding}"
    return (failed if errors else warned)(code, what, f"{first.remedy}; {LOOK}", **figures)


def patient_keys(around: Surroundings) -> Finding:
    """Whether two patients look like one written in two ways."""
    spelt: dict[str, set[str]] = defaultdict(set)
    for patient in around.catalog.patients:
        spelt[_plainly(patient)].add(patient)
    alike = [sorted(keys) for keys in spelt.values() if len(keys) > 1]
    if not alike:
        return passed(
            f"{len(around.catalog.patients)} patients, no two keys alike", patients=len(around.catalog.patients)
        )
    what = f"{count(len(alike), 'pair')} of keys may be one patient, such as {' and '.join(alike[0])}"
    remedy = "give both the same patient_id in participants.tsv where they are one: splits and privacy go by it"
    return warned("alike-keys", what, remedy, pairs=len(alike))


def _plainly(key: str) -> str:
    """Return a key without case, punctuation and leading zeros."""
    return "".join(re.sub(r"^0+(?=.)", "", part) for part in re.findall(r"[a-z]+|\d+", key.casefold())) or key


def faces(around: Surroundings) -> Finding:
    """Whether whole-head volumes still have a face."""
    cases = _spread([case for case in around.catalog.cases if _structural(case)])
    if not cases:
        raise NotCheckedError("there is no structural scan")
    found, looked = [], 0
    for number, case in enumerate(cases, start=1):
        face = _face(case)
        if face is not None:
            looked += 1
        if face:
            found.append(case)
        around.on_progress(number, len(cases))
    if not looked:
        raise NotCheckedError("no structural scan can be read")
    if not found:
        return passed(f"no face in the {looked} cases looked at", looked_at=looked)
    what = f"{len(found)} of {looked} cases looked at seem to show a face, such as {found[0].case}"
    remedy = "deface or skull-strip them; scans stay here either way, but a model can learn what it is shown"
    return warned("faces", what, remedy, faces=len(found), looked_at=looked)


def _face(case: CatalogCase) -> bool | None:
    """Say whether any structural scan of a case shows a face; None where none can be read, as another check tells."""
    from client.data.checks.reading import UnreadableError, read_scan

    judged = None
    for sequence in _structural(case):
        try:
            scan = read_scan(case.images[sequence])
        except UnreadableError:
            continue
        if scan.data is None:
            continue
        judged = shows_face(scan.data, scan.canonical)
        if judged:
            return True
    return judged


def _structural(case: CatalogCase) -> list[Sequence]:
    return [sequence for sequence in STRUCTURAL if sequence in case.images]


def _spread(cases: list[CatalogCase]) -> list[CatalogCase]:
    step = max(1, -(-len(cases) // MOST_FACES))
    return cases[::step]


TOPIC = Topic(
    "data",
    (
        Check("catalog", "names and tables of the scans are understood", catalog, DataError),
        Check("scans", "every scan can be read and is plausible; all of `check` but what follows", scans, DataError),
        Check("duplicates", "no image under two patients or two sequences", duplicates, DataError),
        Check("patient-keys", "no two patient keys that differ in spelling alone", patient_keys, DataError),
        Check("identifiers", "no names or dates in headers and sidecars", identifiers, DataError),
        Check("faces", "no face in whole-head volumes; a heuristic", faces, DataError),
    ),
)
