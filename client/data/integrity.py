"""Everything that is wrong with a site's scans, found at once: each finding with its file and its remedy."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.data.catalog import Catalog, CatalogCase
from client.data.checks.finding import Finding, Severity
from client.data.checks.header import check_header
from client.data.checks.personal import check_personal
from client.data.checks.provenance import check_provenance
from client.data.checks.reading import RawScan, UnreadableError, read_scan
from client.data.checks.sketch import Sketch, sketch
from client.data.checks.swaps import suspect_exchange, suspect_mirror
from client.data.checks.voxels import check_brain_mask, check_image, check_labels
from common.sequences import QUANTITATIVE, Sequence

__all__ = ["Finding", "Severity", "check_case", "check_catalog"]

GRID_TOLERANCE_MM = 0.05
ORDER = tuple(Severity)


@dataclass(frozen=True)
class CaseReport:
    """What one case gave: its findings, and per readable image a digest of its voxels."""

    case: CatalogCase
    findings: tuple[Finding, ...]
    digests: dict[Path, str]


def check_catalog(
    catalog: Catalog, workers: int | None = None, on_case: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Read every file of a catalog once and return all findings, the gravest of each case first.

    Args:
        catalog: from `survey_folder` (its remarks are among the findings) or `scan_folder`.
        workers: cases read at a time; by default one a processor, four at most, since disks do not get faster.
        on_case: called with (done, total) after each case.
    """
    count = workers or min(4, os.cpu_count() or 1)
    reports: list[CaseReport] = []
    pool = ThreadPoolExecutor(count)  # inflating and averaging release the interpreter
    try:
        for report in pool.map(check_case, catalog.cases):
            reports.append(report)
            if on_case is not None:
                on_case(len(reports), len(catalog.cases))
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption waits for the cases in hand alone
    findings = [
        *catalog.remarks,
        *(finding for report in reports for finding in report.findings),
        *_duplicates(reports),
    ]
    return sorted(findings, key=lambda each: (each.case, ORDER.index(each.severity), str(each.file or "")))


def check_case(case: CatalogCase) -> CaseReport:
    """Return everything found in one case by itself."""
    findings: list[Finding] = []
    digests: dict[Path, str] = {}
    sketches: dict[Sequence, Sketch] = {}
    grids: dict[str, tuple[tuple[int, ...], np.ndarray]] = {}
    for word, path in _files(case):
        try:
            scan = read_scan(path)
        except UnreadableError as error:
            remedy = "copy or export it again; this one cannot be used"
            findings.append(Finding(Severity.ERROR, case.case, path, f"unreadable: {error}", remedy, "unreadable"))
            continue
        misplaced = check_header(scan, case.case)
        findings += misplaced + check_provenance(scan, case.case) + check_personal(scan, case.case)
        if scan.data is None:
            continue
        grids[word] = (scan.shape, scan.affine)
        findings += _check_voxels(scan, case, word)
        if word in case.images:
            if scan.volume.min() < scan.volume.max():  # an empty image is a finding already
                digests[path] = _digest(scan)
            small = sketch(scan) if not misplaced and word not in QUANTITATIVE else None
            if small is not None:  # a misplaced image would make all others look mirrored
                sketches[Sequence(word)] = small
    findings += _different_grids(case, grids) + suspect_mirror(case, sketches) + suspect_exchange(case, sketches)
    return CaseReport(case, tuple(findings), digests)


def _files(case: CatalogCase) -> Iterable[tuple[str, Path]]:
    """Yield (sequence, `brain` or `labels`, path) of a case's files."""
    yield from ((sequence.value, path) for sequence, path in case.images.items())
    yield from (
        (word, path) for word, path in (("brain", case.brain_mask), ("labels", case.labels)) if path is not None
    )


def _check_voxels(scan: RawScan, case: CatalogCase, word: str) -> list[Finding]:
    if word == "brain":
        return check_brain_mask(scan, case.case)
    if word == "labels":
        return check_labels(scan, case.case, case.label_kind, case.et_label)
    return check_image(scan, case.case)


def _different_grids(case: CatalogCase, grids: dict[str, tuple[tuple[int, ...], np.ndarray]]) -> list[Finding]:
    """Return one note where not all files of a case lie on one grid: `prepare` registers and resamples them."""
    kinds: list[tuple[tuple[int, ...], np.ndarray, list[str]]] = []
    for word, (shape, affine) in grids.items():
        for known, reference, words in kinds:
            if known == shape and np.allclose(affine, reference, atol=GRID_TOLERANCE_MM, equal_nan=True):
                words.append(word)
                break
        else:
            kinds.append((shape, affine, [word]))
    if len(kinds) < 2:
        return []
    shown = "; ".join(f"{', '.join(words)}: {' x '.join(map(str, shape))}" for shape, _, words in kinds)
    remedy = "nothing to do: prepare registers and resamples them"
    return [Finding(Severity.INFORMATION, case.case, None, f"{len(kinds)} different grids ({shown})", remedy, "grids")]


def _digest(scan: RawScan) -> str:
    """Return a digest of the voxels in canonical order, so that other compression or number types hide no copy."""
    return hashlib.blake2b(str(scan.volume.shape).encode() + scan.volume.tobytes(), digest_size=16).hexdigest()


def _duplicates(reports: Iterable[CaseReport]) -> list[Finding]:
    """Return a finding for each image that lies in the catalog under several names.

    Under two patients, or as two sequences of one case, it is an error; in two cases of one patient it is a note,
    since the patient key keeps them together.
    """
    places: dict[str, list[tuple[CatalogCase, Path]]] = defaultdict(list)
    for report in reports:
        for path, digest in report.digests.items():
            places[digest].append((report.case, path))
    findings = []
    for first, *copies in places.values():
        for case, path in copies:
            same_patient = case.patient == first[0].patient and case.case != first[0].case
            severity = Severity.INFORMATION if same_patient else Severity.ERROR
            remedy = (
                "nothing to do: both count as one patient"
                if same_patient
                else "keep the right one, or give both one patient"
            )
            findings.append(
                Finding(severity, case.case, path, f"duplicate image: the same as {first[1]}", remedy, "duplicate")
            )
    return findings
